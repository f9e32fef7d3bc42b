import { definePlugin } from '@visorkit/core';
import { BootLoadersToken } from '@visorkit/machine';
import type { BootLoader } from '@visorkit/machine';

const START = 0x2000;
const MAGIC = [0x48, 0x69];

/** Loads images that begin with "Hi": real-mode code follows. */
const greeting: BootLoader = {
  name: 'greeting',
  recognises: (image) => MAGIC.every((byte, at) => image[at] === byte),
  load({ image, memory, vcpu }) {
    memory.write(START, image.subarray(MAGIC.length));
    vcpu.setInitialState({ mode: 'real16', rip: BigInt(START) });
  },
};

export default definePlugin({
  name: 'boot-greeting',
  uses: { loaders: BootLoadersToken },
  apply: (host, { loaders }) => host.onDispose(loaders.add(greeting)),
});
