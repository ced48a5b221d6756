/** The Run Command documents: one for each act on a node, its body the script of the same name after the prelude. */
import { readFileSync } from 'node:fs';

const node = '^[a-z0-9]{25}$';
const ipv4 = '[0-9]{1,3}(\\.[0-9]{1,3}){3}';
const port = '^[1-9][0-9]{0,4}$';
/** No blank, quote, wildcard or other character that a shell gives a meaning to. */
const plain = '[A-Za-z0-9@%+=:_./-]';

interface Parameter {
  readonly pattern: string;
  readonly description: string;
}
interface Act {
  readonly description: string;
  /** Seconds that the script may take on the node. */
  readonly timeout: number;
  readonly parameters: Readonly<Record<string, Parameter>>;
}

const NODE: Parameter = { pattern: node, description: 'id of a node of this swarm' };
const ADDRESS: Parameter = { pattern: `^${ipv4}$`, description: "this instance's private IPv4 address" };
const TOKEN: Parameter = {
  pattern: '^/swarm-mesh/[a-z][a-z0-9-]{0,17}/worker-token$',
  description: 'name of the parameter that holds the worker token',
};
const REGION: Parameter = { pattern: '^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$', description: 'region of what this stack has' };
const KEY: Parameter = {
  pattern: '^(alias/[A-Za-z0-9/_-]{1,200}|arn:[a-z-]+:kms:[A-Za-z0-9:/_-]{1,200})$',
  description: 'KMS key for it',
};
const onNode = (description: string): Act => ({ description, timeout: 30, parameters: { NODE } });

export const acts = {
  observe: {
    description: 'Says what this node knows of the swarm. Changes nothing.',
    timeout: 40,
    parameters: { PAGE: { pattern: '^[1-9][0-9]?$', description: 'which page of the view, from 1' } },
  },
  init: {
    description: 'Initialises a swarm and stores its worker token.',
    timeout: 60,
    parameters: {
      ADDRESS,
      POOL: {
        pattern: `^${ipv4}/(8|9|1[0-9]|20)$`,
        description: 'where overlay networks take their addresses from: nothing that the VPC uses',
      },
      TOKEN,
      REGION,
      KEY,
    },
  },
  rotate: {
    description: "Rotates the worker's join token and stores the new one.",
    timeout: 60,
    parameters: { TOKEN, REGION, KEY },
  },
  join: {
    description: 'Joins this node to the swarm as a worker.',
    timeout: 90,
    parameters: {
      MANAGERS: { pattern: `^${ipv4}:2377(,${ipv4}:2377){0,2}$`, description: 'addresses of managers' },
      TOKEN,
      REGION,
    },
  },
  promote: onNode('Makes a worker a manager.'),
  demote: onNode('Makes a manager a worker.'),
  drain: onNode('Moves the tasks of a node elsewhere.'),
  activate: onNode('Lets a node have tasks again.'),
  label: {
    description: 'Labels nodes with the instances behind them.',
    timeout: 60,
    parameters: {
      LABELS: {
        pattern: `^[a-z0-9]{25};i-[0-9a-f]{8,17}(;${plain}*){4}(,[a-z0-9]{25};i-[0-9a-f]{8,17}(;${plain}*){4}){0,49}$`,
        description: 'NODE;INSTANCE;ZONE;TYPE;LIFECYCLE;GROUP, joined by commas',
      },
    },
  },
  remove: {
    description: "Removes a node's record from the swarm.",
    timeout: 30,
    parameters: {
      NODE,
      FORCE: { pattern: '^(yes|no)$', description: 'yes only where EC2 says that it is terminated' },
    },
  },
  recover: {
    description: 'Makes this manager the only one of a swarm that has lost its quorum.',
    timeout: 60,
    parameters: { ADDRESS },
  },
  leave: {
    description: 'Takes this node out of the swarm.',
    timeout: 60,
    parameters: {
      FORCE: { pattern: '^(yes|no)$', description: 'yes: the engine does not come up as the node that it was' },
    },
  },
  watch: {
    description: 'Has this node tell the controller when services change, or no longer.',
    timeout: 60,
    parameters: {
      STATE: { pattern: '^(on|off)$', description: 'whether it should' },
      SOURCE: { pattern: '^swarm-mesh\\.[a-z][a-z0-9-]{0,16}[a-z0-9]$', description: 'source of its events' },
      REGION,
    },
  },
  publish: {
    description: 'Publishes a port of a service, or takes it back.',
    timeout: 30,
    parameters: {
      CHANGE: { pattern: '^(add|create|remove)$', description: 'what to do' },
      SERVICE: { pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$', description: 'name or id of a service' },
      PUBLISHED: { pattern: port, description: 'port on every node' },
      TARGET: { pattern: '^(0|[1-9][0-9]{0,4})$', description: 'port in the containers (0 where it is not needed)' },
      PROTOCOL: { pattern: '^(tcp|udp)$', description: 'protocol' },
      CERTIFICATE: {
        pattern: '^(none|arn:aws[a-z-]{0,12}:acm:[a-z0-9-]{1,32}:[0-9]{12}:certificate/[A-Za-z0-9-]{1,64})$',
        description: 'certificate with which the balancer ends TLS (tcp only), or none',
      },
      HEALTH: {
        pattern: '^(none|/[A-Za-z0-9@%+=:_.~/-]{0,199})$',
        description: 'path that answers HTTP 200 to 399 while the service is healthy, or none',
      },
    },
  },
} as const satisfies Record<string, Act>;

export type ActName = keyof typeof acts;

/** The whole script of an act, as it is packaged and as the tests run it. */
export function script(act: ActName): string {
  const read = (name: string) => readFileSync(new URL(`./${name}.sh`, import.meta.url), 'utf8');
  return `${read('prelude')}\n${read(act)}`;
}

/** The content of an act's document (schema 2.2). */
export function content(act: ActName) {
  const { description, timeout, parameters }: Act = acts[act];
  return {
    schemaVersion: '2.2',
    description,
    parameters: Object.fromEntries(
      Object.entries(parameters).map(([name, { pattern, description }]) => [
        name,
        // ENV_VAR: the value reaches the script as SSM_<name> and is never part of the script's text.
        { type: 'String', description, allowedPattern: pattern, interpolationType: 'ENV_VAR' },
      ]),
    ),
    mainSteps: [
      {
        action: 'aws:runShellScript',
        name: act,
        precondition: { StringEquals: ['platformType', 'Linux'] },
        inputs: { timeoutSeconds: String(timeout), runCommand: script(act).trimEnd().split('\n') },
      },
    ],
  };
}

/** CloudFormation resources: one AWS::SSM::Document for each act, named `swarm-mesh-CLUSTER-ACT`. */
export function documents(cluster: string) {
  const pascal = (act: string) => act.charAt(0).toUpperCase() + act.slice(1);
  return {
    Resources: Object.fromEntries(
      (Object.keys(acts) as ActName[]).map((act) => [
        `${pascal(act)}Document`,
        {
          Type: 'AWS::SSM::Document',
          Properties: {
            Name: `swarm-mesh-${cluster}-${act}`,
            DocumentType: 'Command',
            DocumentFormat: 'JSON',
            UpdateMethod: 'NewVersion',
            Tags: [{ Key: 'swarm-mesh:cluster', Value: cluster }],
            Content: content(act),
          },
        },
      ]),
    ),
  };
}
