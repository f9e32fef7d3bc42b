/** What pipes hold: the same bytes in the same order, in no more memory than is allowed. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ByteQueue, CAPACITY, QueueBudget } from './byte-queue.js';

it('gives what was put in, whatever the sizes', () => {
  const step = fc.tuple(fc.boolean(), fc.nat({ max: 30_000 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const queue = new ByteQueue(new QueueBudget());
      let put = 0,
        taken = 0;
      for (const [puts, size] of steps) {
        const bytes = new Uint8Array(size);
        if (puts) {
          for (let i = 0; i < size; i++) bytes[i] = (put + i) % 251;
          put += queue.put(bytes);
        } else {
          const count = queue.take(bytes);
          for (let i = 0; i < count; i++) if (bytes[i] !== (taken + i) % 251) return false;
          taken += count;
        }
        if (queue.length !== put - taken || queue.length > CAPACITY) return false;
      }
      return true;
    }),
  );
});

it('is small when others hold a lot, and gives its room back', () => {
  const budget = new QueueBudget();
  const queues = Array.from({ length: 1100 }, () => {
    const queue = new ByteQueue(budget);
    queue.put(new Uint8Array(CAPACITY));
    return queue;
  });
  expect(queues[0].capacity).toBe(CAPACITY);
  expect(queues.at(-1)!.capacity).toBe(4096);
  for (const queue of queues) queue.close();
  expect(budget.used).toBe(0);
});
