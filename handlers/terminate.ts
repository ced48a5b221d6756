import { app } from '../src/app.ts';
import { entry } from '../src/entry.ts';
import { terminate } from '../src/terminate.ts';

/** An instance leaves, or is gone (from EventBridge, one at a time). */
export const make = entry(terminate);
export const handler = make(app);
