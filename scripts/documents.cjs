// osls loads only CommonJS for ${file(…)}; the work is in ../node/documents.ts.
const { documents } = require('../node/documents.ts');

module.exports = async ({ resolveConfigurationProperty }) => {
  const { cluster } = await resolveConfigurationProperty(['custom', 'given']);
  return documents(cluster);
};
