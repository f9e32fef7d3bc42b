/** From any graph: every edge still leads where it led, and no loop has two ways in. */
import { array, assert, integer, property, record } from 'fast-check';
import { describe, expect, it } from 'vitest';
import { structure } from './structure.js';
import type { Structure } from './structure.js';

const graphs = record({
  blocks: integer({ min: 1, max: 14 }),
  edges: array(integer({ min: 0, max: 1 << 20 }), { maxLength: 40 }),
}).map(({ blocks, edges }) => {
  const successors: number[][] = Array.from({ length: blocks }, () => []);
  for (const edge of edges) successors[edge % blocks]!.push((Math.floor(edge / blocks) % (blocks + 1)) - 1);
  return successors;
});

/** The block that is meant, behind all dispatchers in front of it; throws where one does not lead to it. */
function arrival(shape: Structure, blocks: number, node: number, meant: number): number {
  if (node < blocks) return node;
  const place = shape.dispatchers[node - blocks]!.indexOf(meant);
  expect(place).toBeGreaterThanOrEqual(0);
  return arrival(shape, blocks, shape.successors[node]![place]!, meant);
}

/** Whether `node` cannot be reached without going through `over`. */
function isDominated(shape: Structure, node: number, over: number): boolean {
  const seen = new Set<number>([over]),
    waiting = over === 0 ? [] : [0];
  while (waiting.length > 0) {
    const at = waiting.pop()!;
    if (at < 0 || seen.has(at)) continue;
    if (at === node) return false;
    seen.add(at);
    waiting.push(...shape.successors[at]!);
  }
  return true;
}

describe('structure of a region', () => {
  it('keeps every edge', () => {
    assert(
      property(graphs, (given) => {
        const shape = structure(
            given,
            given.map(() => false),
          ),
          blocks = given.length;
        given.forEach((list, from) => {
          list.forEach((to, n) => {
            const now = shape.successors[from]![n]!;
            expect(to < 0 ? now : arrival(shape, blocks, now, to)).toBe(to);
          });
        });
      }),
      { numRuns: 2000 },
    );
  });

  it('has only edges back to what dominates their source, and says which nodes those are', () => {
    assert(
      property(graphs, (given) => {
        const shape = structure(
            given,
            given.map(() => false),
          ),
          headers = new Set<number>();
        shape.successors.forEach((list, from) => {
          if (shape.order[from]! < 0) return;
          for (const to of list) {
            if (to < 0 || shape.order[to]! > shape.order[from]!) continue;
            headers.add(to);
            expect(isDominated(shape, from, to) || from === to).toBe(true);
          }
        });
        expect(new Set(shape.loops.flatMap((is, node) => (is ? [node] : [])))).toEqual(headers);
      }),
      { numRuns: 2000 },
    );
  });

  it('puts a dispatcher in front of a loop with two ways in, and none in front of one with one', () => {
    // 0 goes to 1 and to 2, which go to each other
    const shape = structure([[1, 2], [2], [1, -1]], [false, false, false]);
    expect(shape.dispatchers).toEqual([[1, 2]]);
    expect(shape.successors[0]).toEqual([3, 3]);
    expect(structure([[1], [2], [1, -1]], [false, false, false]).dispatchers).toEqual([]);
  });

  it('has one inside of the other where the loops are', () => {
    // 1 and 2 are the ways into the outer loop, 3 and 4 those into the one inside of it
    const shape = structure([[1, 2], [3, 4], [1], [4, 2], [3]], [false, false, false, false, false]);
    expect(shape.dispatchers).toEqual([
      [1, 2],
      [3, 4],
    ]);
  });
});
