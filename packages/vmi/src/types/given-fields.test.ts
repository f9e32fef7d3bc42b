/** Fields that a configuration gives stand in the place of those of the types, however a structure is reached. */
import { describe, expect, it } from 'vitest';
import { withFields } from './given-fields.js';
import type { GivenField } from './given-fields.js';
import { fieldOf } from './type.js';
import type { Type, TypeTable } from './type.js';

const int: Type = { kind: 'integer', name: 'int', size: 4, signed: true };
const member = (name: string, type: Type, offset: number) => ({ name, type, bitOffset: 8 * offset, bitSize: 0 });
const struct = (name: string, size: number, members: Type['members']): Type => ({
  kind: 'struct',
  name,
  size,
  members,
});
const nested = struct('', 8, [member('root', int, 0), member('count', int, 4)]);
const memory = struct('memory', 16, [member('', nested, 8)]);
const task: Type = {
  ...struct('task', 24, undefined),
  get members() {
    const self: Type = { kind: 'pointer', name: '', size: 8, target: task };
    return [member('id', int, 0), member('memory', memory, 4), member('next', self, 16)];
  },
};
const TYPES: TypeTable = {
  source: 'a file',
  pointerSize: 8,
  type: (name) => [task, memory].find((type) => type.name === name),
};
const at = (type: string, field: string, offset: number): GivenField => ({ type, field, offset, as: () => int });
const offsets = (types: TypeTable, type: string, ...paths: string[]): (number | undefined)[] =>
  paths.map((path) => fieldOf(types.type(type)!, path)?.offset);

describe('fields that are given', () => {
  const types = withFields(TYPES, [at('task', 'id', 0x30), at('memory', 'root', 2), at('other', 'name', 8)]);

  it('are where they are said to be, and the others where they were', () => {
    expect(offsets(types, 'task', 'id', 'next')).toEqual([0x30, 16]);
    expect(types.type('task')!.size).toBe(0x34);
    expect(fieldOf(types.type('task')!, 'id')?.type.name).toBe('int');
    expect(types.type('task')!.members!.map(({ name }) => name)).toEqual(['id', 'memory', 'next']);
  });

  it('are found before those in anonymous members, and through members and pointers', () => {
    expect(offsets(types, 'memory', 'root', 'count')).toEqual([2, 12]);
    expect(offsets(types, 'task', 'memory.root')).toEqual([4 + 2]);
    const next = fieldOf(types.type('task')!, 'next')!.type.target;
    expect(next).toBe(types.type('task'));
  });

  it('make a structure that is not there', () => {
    expect(offsets(types, 'other', 'name', 'id')).toEqual([8, undefined]);
    expect(types.type('other')!.size).toBe(12);
    expect(types.type('another')).toBeUndefined();
  });

  it('are named', () => {
    expect(types.source).toBe('a file; as given: task.id, memory.root, other.name');
    expect(withFields(TYPES, [])).toBe(TYPES);
  });
});
