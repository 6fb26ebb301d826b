// Records manifests and seals them as fast as it can, until it is killed; says a line for each that is committed.
import { openDatabase } from '../../src/store/database.ts';
import { readSigningKey } from '../../src/core/signing-key.ts';
import { openEvidenceHouse } from '../_util/evidence-house.ts';

const [url = '', keyPem = ''] = process.argv.slice(2);
const db = await openDatabase({ url, poolMax: 4 });
const house = await openEvidenceHouse(db, { signingKey: readSigningKey(keyPem) });
const exporting = async (): Promise<void> => {
  for (;;) process.stdout.write(`${await house.export()}\n`);
};
const sealing = async (): Promise<void> => {
  for (;;) await house.log.seal();
};
await Promise.all([exporting(), sealing()]);
