import { definePlugin } from '@visorkit/core';
import { VmiEventsToken } from '@visorkit/vmi';

export default definePlugin({
  name: 'log-cr3',
  uses: { events: VmiEventsToken },
  apply({ logger }, { events }) {
    events.register({ register: 'cr3', onChange: true }, ({ vcpu, value }) =>
      logger.info(`vCPU ${vcpu.index} goes to tables at 0x${value.toString(16)}`),
    );
  },
});
