/**
 * `npm run test:mesh`: the routing mesh itself. A swarm forms and publishes a port on real engines under a kernel with
 * IPVS; the port has to answer through every node, the one without a replica included. Where this machine's kernel has
 * IPVS, it is used; else a User-Mode-Linux kernel is started for it.
 */
import { spawn, spawnSync } from 'node:child_process';
import { kernelHasIpvs } from '../../lab/engines/mesh.ts';
import { packaged } from '../../lab/packaged.ts';

packaged();
spawnSync('modprobe', ['ip_vs'], { stdio: 'ignore' });
const own = kernelHasIpvs();
const inside = [process.execPath, 'test/mesh/inside.ts'];
console.log(own ? "this machine's kernel has IPVS" : "this machine's kernel has no IPVS: starting one that has (UML)");
/** Engines' data on the scratch disk, an `aws` that starts at once, and a console that shows every line. */
const there = ['SWARM_MESH_LAB_DIR=/mnt/swarm-mesh-lab', 'SWARM_MESH_LAB_AWS=stand-in', 'TERM=dumb', 'NO_COLOR=1'];
const [command = '', ...args] = own ? inside : ['test/mesh/ipvs-kernel.sh', 'env', ...there, ...inside];
const child = spawn(command, args, { stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
child.on('close', (code) => process.exit(code ?? 1));
