import { api } from '../src/api/api.ts';
import { app } from '../src/app.ts';
import { entry } from '../src/entry.ts';

/** Somebody asks for something (from the HTTP API). */
export const make = entry(api);
export const handler = make(app);
