/**
 * Control flow without goto: from a graph of blocks to nested blocks and loops of WebAssembly, by the dominator tree (Ramsey, "Beyond
 * Relooper", ICFP 2022). A graph of which a loop can be entered in two ways has no such form: the edges that prevent it are cut.
 */

export interface Structure {
  /** Successors that are left, in place; -1 was cut or leads outside. */
  successors: number[][];
  /** Place of each block in reverse postorder; -1: not reached. */
  order: Int32Array;
  loops: boolean[];
  /** More than one way leads forward to it, or a jump table does. */
  merges: boolean[];
  /** Blocks that each one immediately dominates and that are merges, the last in order first. */
  joined: number[][];
}

/** `successors` are numbers of blocks, -1 for an edge that leads outside; block 0 is the entry. `tables` says which blocks end in a jump table. */
export function structure(given: readonly (readonly number[])[], tables: readonly boolean[]): Structure {
  const successors = given.map((list) => [...list]);
  while (true) {
    const order = reversePostorder(successors),
      dominators = immediateDominators(successors, order);
    if (!cut(successors, order, dominators)) return finish(successors, tables, order, dominators);
  }
}

function reversePostorder(successors: readonly (readonly number[])[]): Int32Array {
  const order = new Int32Array(successors.length).fill(-1),
    seen = new Uint8Array(successors.length),
    finished: number[] = [],
    stack: { node: number; next: number }[] = [{ node: 0, next: 0 }];
  seen[0] = 1;
  while (stack.length > 0) {
    const top = stack[stack.length - 1]!,
      to = successors[top.node]![top.next++];
    if (to === undefined) {
      finished.push(top.node);
      stack.pop();
    } else if (to >= 0 && seen[to] === 0) {
      seen[to] = 1;
      stack.push({ node: to, next: 0 });
    }
  }
  finished.forEach((node, i) => {
    order[node] = finished.length - 1 - i;
  });
  return order;
}

/** Cooper, Harvey and Kennedy, "A simple, fast dominance algorithm". */
function immediateDominators(successors: readonly (readonly number[])[], order: Int32Array): Int32Array {
  const inOrder: number[] = [],
    predecessors: number[][] = successors.map(() => []);
  order.forEach((place, node) => {
    if (place >= 0) inOrder[place] = node;
  });
  successors.forEach((list, node) => {
    if (order[node]! >= 0) for (const to of list) if (to >= 0) predecessors[to]!.push(node);
  });
  const dominators = new Int32Array(successors.length).fill(-1);
  dominators[0] = 0;
  for (let changed = true; changed; ) {
    changed = false;
    for (const node of inOrder) {
      if (node === 0) continue;
      let common = -1;
      for (const from of predecessors[node]!) {
        if (dominators[from]! < 0) continue;
        common = common < 0 ? from : intersect(common, from);
      }
      if (dominators[node] !== common) {
        dominators[node] = common;
        changed = true;
      }
    }
  }
  return dominators;

  function intersect(first: number, second: number): number {
    let a = first,
      b = second;
    while (a !== b) {
      while (order[a]! > order[b]!) a = dominators[a]!;
      while (order[b]! > order[a]!) b = dominators[b]!;
    }
    return a;
  }
}

function dominates(a: number, b: number, order: Int32Array, dominators: Int32Array): boolean {
  let at = b;
  while (order[at]! > order[a]!) at = dominators[at]!;
  return at === a;
}

/** Cuts edges that go back to a block that does not dominate their source. Whether there were any. */
function cut(successors: number[][], order: Int32Array, dominators: Int32Array): boolean {
  let any = false;
  successors.forEach((list, node) => {
    if (order[node]! < 0) return;
    list.forEach((to, i) => {
      if (to < 0 || order[to]! > order[node]! || dominates(to, node, order, dominators)) return;
      list[i] = -1;
      any = true;
    });
  });
  return any;
}

function finish(
  successors: number[][],
  tables: readonly boolean[],
  order: Int32Array,
  dominators: Int32Array,
): Structure {
  const count = successors.length,
    loops = new Array<boolean>(count).fill(false),
    merges = new Array<boolean>(count).fill(false),
    ways = new Int32Array(count),
    joined: number[][] = successors.map(() => []);
  successors.forEach((list, node) => {
    if (order[node]! < 0) return;
    for (const to of new Set(list)) {
      if (to < 0) continue;
      if (order[to]! <= order[node]!) loops[to] = true;
      else {
        ways[to]!++;
        if (ways[to]! > 1 || tables[node] === true || list.filter((other) => other === to).length > 1)
          merges[to] = true;
      }
    }
  });
  for (let node = 1; node < count; node++)
    if (order[node]! >= 0 && merges[node] === true) joined[dominators[node]!]!.push(node);
  for (const list of joined) list.sort((a, b) => order[b]! - order[a]!);
  return { successors, order, loops, merges, joined };
}
