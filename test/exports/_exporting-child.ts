// Exports as fast as it can, until it is killed; says a line when one begins and when one has ended.
import { openDatabase } from '../../src/store/database.ts';
import { openExporting } from './_exporting.ts';

const [url = '', folder = '', networkPassphrase = '', keyPem = ''] = process.argv.slice(2);
const db = await openDatabase({ url, poolMax: 4 });
const { start, work } = await openExporting({ db, folder, networkPassphrase, keyPem });
for (;;) {
  const id = await start();
  process.stdout.write(`begun ${id}\n`);
  await work(id);
  process.stdout.write(`ended ${id}\n`);
}
