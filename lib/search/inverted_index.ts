/**
 * BM25F (Robertson et al. 2004, title and text as weighted fields) over an inverted index in typed arrays. A posting's
 * score does not depend on the query, so it is computed once, and a search only adds.
 *
 * Scores are those of wink-bm25-text-search 3.1.2 after `consolidate(9)`, to the last bit: the same formula in the same
 * order of operations, each posting rounded to nine decimals. wink itself adds in hash tables and sorts all it finds, which
 * takes longer in a collection of any size.
 *
 * @module
 */
import { type Document, titleAndText } from "./retriever.ts";

/** A document's place in the collection, with its score. */
type PlaceAndScore = [place: number, score: number];

/** For a query the best `topK` documents: by score, then by place. */
type Search = (query: string, topK: number) => PlaceAndScore[];

/** How words count; see `Bm25Options`. */
export interface Bm25Weights {
  k1: number;
  b: number;
  titleWeight: number;
}

/** The documents with a word, in their order, and what the word adds to the score of each. */
interface Postings {
  places: Int32Array;
  scores: Float64Array;
}

/** No score: scores are at least 0. */
const untouched = -1;

/** Runs of letters and digits of any script, in lower case; accents count. */
function words(text: string): string[] {
  return text.normalize("NFC").toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
}

/** Indexes the documents and returns the search in them. */
export function invertedIndex(documents: readonly Document[], weights: Bm25Weights): Search {
  const index = postingsOf(documents, weights);
  // Scratch of every search, left clean by each: a document without a known word stands at `untouched`.
  const scores = new Float64Array(documents.length).fill(untouched);
  const touched = new Int32Array(documents.length);

  return (query, topK) => {
    let count = 0;
    for (const word of words(query)) {
      const postings = index.get(word);
      if (postings === undefined) continue;
      for (let i = 0; i < postings.places.length; i++) {
        const place = postings.places[i]!;
        if (scores[place] === untouched) {
          touched[count++] = place;
          scores[place] = postings.scores[i]!;
        } else scores[place]! += postings.scores[i]!;
      }
    }
    const found = touched.subarray(0, count);
    const best = bestOf(found, scores, topK);
    for (const place of found) scores[place] = untouched;
    return best;
  };
}

/** The best `topK` of the places: those kept are sorted and cut back to `topK` whenever they are twice as many. */
function bestOf(places: Int32Array, scores: Float64Array, topK: number): PlaceAndScore[] {
  if (topK < 1) return [];
  let kept: PlaceAndScore[] = [];
  // The last of the best so far: who does not come before it need not be kept.
  let [lastPlace, lastScore] = [Infinity, -Infinity];
  for (const place of places) {
    const score = scores[place]!;
    if (score < lastScore || (score === lastScore && place > lastPlace)) continue;
    kept.push([place, score]);
    if (kept.length >= 2 * topK) {
      kept = kept.sort(byScoreThenPlace).slice(0, topK);
      [lastPlace, lastScore] = kept.at(-1)!;
    }
  }
  return kept.sort(byScoreThenPlace).slice(0, topK);
}

function byScoreThenPlace(a: PlaceAndScore, b: PlaceAndScore): number {
  return b[1] - a[1] || a[0] - b[0];
}

function postingsOf(documents: readonly Document[], { k1, b, titleWeight }: Bm25Weights) {
  const found = new Map<string, { places: number[]; frequencies: number[] }>();
  const lengths = new Float64Array(documents.length);
  let totalLength = 0;
  documents.forEach((document, place) => {
    const { title, text } = titleAndText(document);
    const frequencies = new Map<string, number>();
    for (const [field, weight] of [[title, titleWeight], [text, 1]] as const) {
      if (weight === 0) continue;
      const inField = words(field);
      for (const word of inField) frequencies.set(word, (frequencies.get(word) ?? 0) + weight);
      lengths[place]! += inField.length * weight;
      totalLength += inField.length * weight;
    }
    for (const [word, frequency] of frequencies) {
      let postings = found.get(word);
      if (postings === undefined) found.set(word, postings = { places: [], frequencies: [] });
      postings.places.push(place);
      postings.frequencies.push(frequency);
    }
  });

  const N = documents.length;
  const meanLength = totalLength / N;
  const index = new Map<string, Postings>();
  for (const [word, { places, frequencies }] of found) {
    const n = places.length;
    const idf = Math.log((N - n + 0.5) / (n + 0.5) + 1);
    const scores = Float64Array.from(frequencies, (frequency, i) => {
      // BM25F: idf · tf (k1 + 1) / (k1 (1 - b + b length / mean length) + tf), tf and length weighted by field.
      const lengthNorm = (1 - b) + b * (lengths[places[i]!]! / meanLength);
      return Number((frequency * (k1 + 1) / (k1 * lengthNorm + frequency) * idf).toFixed(9));
    });
    index.set(word, { places: Int32Array.from(places), scores });
  }
  return index;
}
