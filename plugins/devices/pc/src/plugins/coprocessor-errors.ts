/** x87 errors with CR0.NE = 0 on IRQ 13. On a backend without the pins for it the port is there, and such errors are the backend's business. */
import { HALT, Stage, definePlugin, optional } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken, ProcessorPinsToken } from '@visorkit/machine';
import { COPROCESSOR_PORT, CoprocessorErrors } from '../coprocessor-errors.js';

const FLOATING_POINT_ERROR = 16;
const VECTOR = 0xff;
const NE = 1n << 5n;

export function coprocessorErrors(): Plugin {
  return definePlugin({
    name: 'coprocessor-errors',
    uses: { addDevice: AddDeviceToken, pins: optional(ProcessorPinsToken) },
    apply(host, { addDevice, pins }) {
      const device = host.make(CoprocessorErrors);
      addDevice(device, { ports: [[COPROCESSOR_PORT, 1]] });
      if (pins === undefined) return;
      pins.wireErrors();
      device.onIgnore = (vcpu) => pins.ignoreError(vcpu);
      host.hooks.exit.for('exception').tap({ stage: Stage.Machine }, (exit, vcpu) => {
        if ((exit.interruptionInfo & VECTOR) !== FLOATING_POINT_ERROR) return undefined;
        if ((vcpu.getControlRegister(0) & NE) !== 0n) return undefined; // #MF, which somebody wanted to see
        device.report(vcpu.index);
        return HALT;
      });
    },
  });
}
