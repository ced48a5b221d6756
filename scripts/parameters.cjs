// osls loads only CommonJS for ${file(…)}; the work is in parameters.ts.
const { parameters } = require('./parameters.ts');

module.exports = ({ resolveVariable }) => parameters((name) => resolveVariable(`param:${name}, ''`));
