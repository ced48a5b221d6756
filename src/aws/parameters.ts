/** What is stored: the swarm's record and the ledger of managers, in Parameter Store. */
import { GetParametersCommand, PutParameterCommand, type SSMClient } from '@aws-sdk/client-ssm';
import { z } from 'zod';
import type { Config } from '../config.ts';
import { Fault } from '../errors.ts';
import { parameters as names } from '../model/names.ts';
import type { LedgerEntry, SwarmRecord } from '../model/observed.ts';

const Stored = z.object({
  generation: z.int().positive(),
  state: z.enum(['forming', 'formed']),
  instance: z.string(),
  swarm: z.string().nullable(),
  at: z.number(),
  rotated: z.number().optional(),
});
const StoredLedger = z.array(
  z.object({ node: z.string(), instance: z.string(), address: z.string(), terminated: z.number().nullable() }),
);

export function parameters(client: SSMClient, config: Pick<Config, 'cluster'>) {
  const name = names(config.cluster);
  const put = (Name: string, value: unknown, Overwrite: boolean) =>
    client.send(new PutParameterCommand({ Name, Type: 'String', Value: JSON.stringify(value), Overwrite }));

  return {
    /** Both in one call; undefined and empty where they were never written. */
    async read(): Promise<{ record: SwarmRecord | undefined; ledger: readonly LedgerEntry[] }> {
      const { Parameters } = await client.send(new GetParametersCommand({ Names: [name.swarm, name.managers] }));
      const value = (wanted: string) => Parameters?.find(({ Name }) => Name === wanted)?.Value;
      const record = parsed(name.swarm, value(name.swarm), Stored);
      const ledger = parsed(name.managers, value(name.managers), StoredLedger) ?? [];
      return {
        record: record && { ...record, swarm: record.swarm ?? undefined },
        ledger: ledger.map((entry) => ({ ...entry, terminated: entry.terminated ?? undefined })),
      };
    },

    /** Creates the record, which is the lock: fails with ParameterAlreadyExists where somebody was first. */
    async claim(record: SwarmRecord): Promise<void> {
      await put(name.swarm, { ...record, swarm: record.swarm ?? null }, false);
    },

    async record(record: SwarmRecord): Promise<void> {
      await put(name.swarm, { ...record, swarm: record.swarm ?? null }, true);
    },

    async ledger(entries: readonly LedgerEntry[]): Promise<void> {
      await put(
        name.managers,
        entries.map((entry) => ({ ...entry, terminated: entry.terminated ?? null })),
        true,
      );
    },
  };
}

function parsed<T>(name: string, text: string | undefined, schema: z.ZodType<T>): T | undefined {
  if (text === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    const hint = 'it is written by swarm-mesh alone: restore its last version from the history in Parameter Store';
    throw new Fault(`reading the parameter ${name}`, { cause, hint });
  }
}
