/**
 * Control flow without goto: from a graph of blocks to nested blocks and loops of WebAssembly, by the dominator tree (Ramsey, "Beyond
 * Relooper", ICFP 2022). A loop that can be entered in several ways, as a recursive function has them, has no such form: a node in front of it, a
 * dispatcher, becomes its only way in, and goes on to the block that is meant.
 */

export interface Structure {
  /** Numbers of nodes by node: first the blocks, their successors in place, -1 leads outside; then the dispatchers. */
  successors: number[][];
  /** Blocks that each dispatcher leads to, in the order of its successors, which may be dispatchers again. */
  dispatchers: number[][];
  /** Place of each node in reverse postorder; -1: not reached. */
  order: Int32Array;
  loops: boolean[];
  /** More than one way leads forward to it, or a jump table does. */
  merges: boolean[];
  /** Nodes that each one immediately dominates and that are merges, the last in order first. */
  joined: number[][];
}

/** `given` are the successors of blocks, -1 for an edge that leads outside; block 0 is the entry. `tables` says which blocks end in a jump table. */
export function structure(given: readonly (readonly number[])[], tables: readonly boolean[]): Structure {
  const graph: Graph = { successors: given.map((list) => [...list]), dispatchers: [] };
  let order = reversePostorder(graph),
    dominators = immediateDominators(graph, order);
  if (!isReducible(graph, order, dominators)) {
    makeReducible(graph, reached(order));
    order = reversePostorder(graph);
    dominators = immediateDominators(graph, order);
  }
  return finish(graph, [...tables, ...graph.dispatchers.map(() => true)], order, dominators);
}

type Graph = Pick<Structure, 'successors' | 'dispatchers'>;

function reached(order: Int32Array): number[] {
  return [...order.keys()].filter((node) => order[node]! >= 0);
}

function reversePostorder({ successors }: Graph): Int32Array {
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

/** The nodes that are reached, in that order. */
export function inOrder(order: Int32Array): Int32Array {
  const nodes = new Int32Array(order.length);
  let count = 0;
  for (let node = 0; node < order.length; node++) {
    if (order[node]! < 0) continue;
    nodes[order[node]!] = node;
    count++;
  }
  return nodes.subarray(0, count);
}

/** Where each node is come to from, of `nodes`. */
export function predecessorsOf(successors: readonly (readonly number[])[], nodes: Int32Array): number[][] {
  const predecessors: number[][] = successors.map(() => []);
  for (const node of nodes) for (const to of successors[node]!) if (to >= 0) predecessors[to]!.push(node);
  return predecessors;
}

/** Cooper, Harvey and Kennedy, "A simple, fast dominance algorithm". */
function immediateDominators({ successors }: Graph, order: Int32Array): Int32Array {
  const nodes = inOrder(order),
    predecessors = predecessorsOf(successors, nodes),
    dominators = new Int32Array(successors.length).fill(-1);
  dominators[0] = 0;
  for (let changed = true; changed; ) {
    changed = false;
    for (const node of nodes) {
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

/** Whether every edge that goes back leads to a block that dominates its source. */
function isReducible({ successors }: Graph, order: Int32Array, dominators: Int32Array): boolean {
  return successors.every(
    (list, node) =>
      order[node]! < 0 ||
      list.every((to) => to < 0 || order[to]! > order[node]! || dominates(to, node, order, dominators)),
  );
}

/** Puts dispatchers in front of the loops among `nodes` that have several ways in, then looks at the loops inside of each. */
function makeReducible(graph: Graph, nodes: readonly number[]): void {
  for (const loop of cycles(graph, nodes)) {
    const inside = new Set(loop),
      ways = waysIn(graph, inside);
    let header = ways[0]!;
    if (ways.length > 1) {
      header = dispatcher(graph, ways);
      loop.push(header);
    }
    makeReducible(
      graph,
      loop.filter((node) => node !== header),
    );
  }
}

/** Nodes of a loop that are reached from outside of it; the entry's has one, the entry: whatever leads to it comes from there. */
function waysIn({ successors }: Graph, inside: ReadonlySet<number>): number[] {
  if (inside.has(0)) return [0];
  const ways = new Set<number>();
  successors.forEach((list, node) => {
    if (!inside.has(node)) for (const to of list) if (inside.has(to)) ways.add(to);
  });
  return [...ways];
}

/** All edges to any of `ways` lead to a new node, and from there to where they led. Returns it. */
function dispatcher(graph: Graph, ways: readonly number[]): number {
  const { successors, dispatchers } = graph,
    node = successors.length;
  for (const list of successors) {
    list.forEach((to, n) => {
      if (ways.includes(to)) list[n] = node;
    });
  }
  dispatchers.push([...ways]);
  successors.push([...ways]);
  return node;
}

/** The sets of `nodes` from each of which every other one can be reached, of more than one node or with an edge to itself (Tarjan). */
function cycles({ successors }: Graph, nodes: readonly number[]): number[][] {
  const among = new Set(nodes),
    found: number[][] = [],
    index = new Map<number, number>(),
    stack: number[] = [],
    waiting = new Set<number>();
  const visit = (node: number): number => {
    let low = index.size;
    const own = low;
    index.set(node, own);
    stack.push(node);
    waiting.add(node);
    for (const to of successors[node]!) {
      if (!among.has(to)) continue;
      if (!index.has(to)) low = Math.min(low, visit(to));
      else if (waiting.has(to)) low = Math.min(low, index.get(to)!);
    }
    if (low === own) {
      const component = stack.splice(stack.indexOf(node));
      for (const member of component) waiting.delete(member);
      if (component.length > 1 || successors[node]!.includes(node)) found.push(component);
    }
    return low;
  };
  for (const node of nodes) if (!index.has(node)) visit(node);
  return found;
}

function finish(
  { successors, dispatchers }: Graph,
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
    for (let n = 0; n < list.length; n++) {
      const to = list[n]!;
      if (to < 0 || list.indexOf(to) < n) continue;
      if (order[to]! <= order[node]!) loops[to] = true;
      else {
        ways[to]!++;
        if (ways[to]! > 1 || tables[node] === true || list.includes(to, n + 1)) merges[to] = true;
      }
    }
  });
  for (let node = 1; node < count; node++)
    if (order[node]! >= 0 && merges[node] === true) joined[dominators[node]!]!.push(node);
  for (const list of joined) list.sort((a, b) => order[b]! - order[a]!);
  return { successors, dispatchers, order, loops, merges, joined };
}
