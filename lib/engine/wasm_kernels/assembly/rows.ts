// deno-lint-ignore-file
// @ts-nocheck AssemblyScript, not TypeScript: built by `deno task build:wasm`.
//
// Rows of bytes moved about: cut out, put side by side, looked up by number, added up by number.

/** Copies `count` blocks of `bytes` bytes that lie `fromPitch` bytes apart to places `toPitch` bytes apart. */
export function copyBlocks(
  from: usize,
  fromPitch: usize,
  to: usize,
  toPitch: usize,
  bytes: usize,
  count: i32,
): void {
  for (let i = 0; i < count; i++) {
    copyBlock(from, to, bytes);
    from += fromPitch;
    to += toPitch;
  }
}

/**
 * out[b,o,i,·] = x[b,o,ids[b,i],·]: x is [batch, outer, size, bytes], ids [batch, count] of int32, out [batch, outer,
 * count, bytes]. Returns the position of the first id that lies outside 0 … size − 1, or −1 when all are inside.
 */
export function gather(
  x: usize,
  ids: usize,
  out: usize,
  batch: i32,
  outer: i32,
  size: i32,
  count: i32,
  bytes: usize,
): i32 {
  for (let i = 0; i < batch * count; i++) {
    if (load<u32>(ids + (<usize> i << 2)) >= <u32> size) return i;
  }
  for (let b = 0; b < batch; b++) {
    for (let o = 0; o < outer; o++) {
      for (let i = 0; i < count; i++) {
        copyBlock(x + bytes * load<u32>(ids + (<usize> i << 2)), out, bytes);
        out += bytes;
      }
      x += bytes * size;
    }
    ids += <usize> count << 2;
  }
  return -1;
}

/**
 * out[s,·] = Σ over rows r with ids[r] = s of x[r,·], in row order; x is [rows, width], out [segments, width], ids int32.
 * Rows whose id lies outside 0 … segments − 1 are dropped.
 */
export function segmentSum(x: usize, ids: usize, out: usize, rows: i32, width: i32, segments: i32): void {
  const bytes = <usize> width << 2;
  memory.fill(out, 0, bytes * segments);
  for (let r = 0; r < rows; r++) {
    const id = load<u32>(ids + (<usize> r << 2));
    if (id < <u32> segments) addTo(out + bytes * id, x + bytes * r, width);
  }
}

function copyBlock(from: usize, to: usize, bytes: usize): void {
  if (bytes > 512) {
    memory.copy(to, from, bytes);
    return;
  }
  const end = from + bytes;
  for (; from + 16 <= end; from += 16) {
    v128.store(to, v128.load(from));
    to += 16;
  }
  for (; from + 4 <= end; from += 4) {
    store<u32>(to, load<u32>(from));
    to += 4;
  }
  for (; from < end; from++) {
    store<u8>(to, load<u8>(from));
    to++;
  }
}

function addTo(to: usize, from: usize, count: i32): void {
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    v128.store(to, f32x4.add(v128.load(to), v128.load(from)));
    to += 16;
    from += 16;
  }
  for (; i < count; i++) {
    store<f32>(to, load<f32>(to) + load<f32>(from));
    to += 4;
    from += 4;
  }
}
