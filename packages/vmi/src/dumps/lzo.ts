/**
 * LZO1X, unpacked: the stream format as Linux describes it in Documentation/staging/lzo.rst (without the run-length extension, "lzo-rle"). kdump's pages are packed so.
 */

/** Fills `target` from `source` and returns how many bytes it wrote, -1 for a stream that is damaged, too long or too short. */
export function unpackLzo(source: Uint8Array, target: Uint8Array): number {
  let from = 0,
    to = 0;
  /** Literals that the instruction before this one copied: 0 to 3, or 4 for 4 and more. */
  let state = 0;
  let bad = false;

  const next = (): number => {
    if (from < source.length) return source[from++];
    bad = true;
    return 0;
  };
  /** A length whose field is 0 goes on: 255 for each zero byte, then the byte behind them. */
  const length = (field: number, longest: number): number => {
    if (field !== 0) return field;
    let more = longest;
    for (let byte = next(); !bad; byte = next()) {
      if (byte !== 0) return more + byte;
      more += 255;
    }
    return more;
  };
  const literals = (count: number): void => {
    if (from + count > source.length || to + count > target.length) bad = true;
    else for (let end = from + count; from < end; ) target[to++] = source[from++];
  };
  const match = (distance: number, count: number): void => {
    if (distance > to || to + count > target.length) bad = true;
    else for (let end = to + count; to < end; to++) target[to] = target[to - distance];
  };

  const first = source.length > 0 ? source[0] : 0;
  if (first > 17) {
    from = 1;
    literals(first - 17);
    state = Math.min(first - 17, 4);
  }
  while (!bad) {
    const code = next();
    if (bad) break;
    let low: number;
    if (code < 16) {
      if (state === 0) {
        literals(3 + length(code, 15));
        state = 4;
        continue;
      }
      match((code >> 2) + (next() << 2) + (state === 4 ? 2049 : 1), state === 4 ? 3 : 2);
      low = code;
    } else if (code < 32) {
      const count = 2 + length(code & 7, 7);
      low = next();
      const distance = 16384 + ((code & 8) << 11) + (low >> 2) + (next() << 6);
      if (distance === 16384) return bad ? -1 : to;
      match(distance, count);
    } else if (code < 64) {
      const count = 2 + length(code & 31, 31);
      low = next();
      match((low >> 2) + (next() << 6) + 1, count);
    } else if (code < 128) {
      match(((code >> 2) & 7) + (next() << 3) + 1, 3 + ((code >> 5) & 1));
      low = code;
    } else {
      match(((code >> 2) & 7) + (next() << 3) + 1, 5 + ((code >> 5) & 3));
      low = code;
    }
    state = low & 3;
    literals(state);
  }
  return -1;
}
