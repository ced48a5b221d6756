/** Before the tests: they read the packaged template. */
export { packaged as setup } from '../lab/packaged.ts';
