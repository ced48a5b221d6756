import { app } from '../src/app.ts';
import { entry } from '../src/entry.ts';
import { reconcile } from '../src/reconcile.ts';

/** The cluster is to be looked at (from the wake queue, one batch at a time). */
export const make = entry(reconcile);
export const handler = make(app);
