import { RealClock } from '../../lab/clock.ts';
import { DockerEngines } from '../../lab/engines/docker.ts';
import { engineContract } from '../contracts/engines.ts';

engineContract('real Docker engines', (tokens) => ({ engines: new DockerEngines(tokens), clock: new RealClock() }));
