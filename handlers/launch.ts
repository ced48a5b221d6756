import { app } from '../src/app.ts';
import { entry } from '../src/entry.ts';
import { launch } from '../src/launch.ts';

/** Instances have launched (from the launch queue, in batches). */
export const make = entry(launch);
export const handler = make(app);
