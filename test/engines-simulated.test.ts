import { VirtualClock } from '../lab/clock.ts';
import { SimulatedEngines } from '../lab/engines/simulated.ts';
import { Random } from '../lab/random.ts';
import { engineContract } from './contracts/engines.ts';

engineContract('the model', (tokens) => {
  const clock = new VirtualClock();
  return { engines: new SimulatedEngines(clock, new Random(7), tokens), clock };
});
