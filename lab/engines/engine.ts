/** What stands behind an instance: a Docker engine, real or modelled. Both pass test/contracts/engines.ts. */
import type { ActName } from '../../node/documents.ts';

export interface Host {
  readonly id: string;
  readonly address: string;
  readonly hostname: string;
}

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Where the workers' token lives: Parameter Store, as a node reaches it. */
export interface TokenStore {
  get(name: string): string | undefined;
  put(name: string, value: string, key: string): void;
}

/** What an operator writes of a service besides its replicas. */
export interface Served {
  readonly labels?: Readonly<Record<string, string>>;
  readonly ports?: readonly ServedPort[];
}
export interface ServedPort {
  readonly published: number;
  readonly target: number;
  readonly protocol: 'tcp' | 'udp';
  readonly mode: 'ingress' | 'host';
}

export interface Engines {
  readonly kind: 'simulated' | 'docker';
  /** Told where an instance's watcher sends its event. The model only: real engines run without systemd here. */
  onWatched?: (id: string, source: string) => void;
  /** Starts an engine on an instance. */
  boot(host: Host): Promise<void>;
  /** The instance is gone: its engine, containers and disk too. */
  destroy(id: string): Promise<void>;
  /** The instance is stopped, its disk stays. Only the model can be started again after it. */
  halt?(id: string): void;
  /** Runs a document's script on the instance, its parameters in the environment as SSM_NAME. */
  run(id: string, act: ActName, script: string, parameters: Readonly<Record<string, string>>): Promise<Ran>;
  /** Whether the instance's security group lets the other nodes through. */
  link(id: string, open: boolean): Promise<void>;
  /** Whether something listens on a port of the instance, as a TCP health check sees it. */
  probe(id: string, port: number): Promise<boolean>;
  /** One request to a port of an instance: the name of the replica that answered, or undefined where none did with 200. */
  ask(id: string, port: number, path?: string): Promise<string | undefined>;
  /**
   * An operator's `docker service create` of a web server that answers with its replica's name, at / and /index.html; or,
   * where the service is there already, the update that makes it just so.
   */
  serve(manager: string, service: string, replicas: number, given?: Served): Promise<void>;
  /** An operator's `docker service rm`. */
  end(manager: string, service: string): Promise<void>;
  /** Names of a service's running replicas, each with the instance it runs on. */
  replicas(manager: string, service: string): Promise<{ name: string; instance: string }[]>;
  /** Stops everything it started. */
  close(): Promise<void>;
}
