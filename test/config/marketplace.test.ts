// Goal: a marketplace's names and ages are what the file and the environment say, and nothing mistyped means nothing.
// Method: environments and YAML texts in, configuration or problems out.
import { expect, test } from 'vitest';
import { readConfig } from '../../src/config/read-config.ts';
import { secretValues } from '../../src/config/secret-values.ts';
import { DEFAULT_MAPPING } from '../../src/core/marketplace.ts';

const MINUTE_MS = 60_000;

function read(env: Record<string, string> = {}, yaml?: string) {
  return readConfig(env, {
    cwd: '/nowhere',
    readFile: () => {
      if (yaml === undefined) throw Object.assign(new Error('none'), { code: 'ENOENT' });
      return yaml;
    },
  });
}

test("with nothing said, the names are System C's and the ages 30, 30, 5 and 30 minutes", () => {
  const { marketplace, secrets, telemetry } = read();
  expect(marketplace.mapping).toEqual(DEFAULT_MAPPING);
  expect(marketplace.thresholds).toEqual({
    stuckOrdersMs: 30 * MINUTE_MS,
    stuckRefundsMs: 30 * MINUTE_MS,
    orphanRefundsMs: 5 * MINUTE_MS,
    pendingReversalsMs: 30 * MINUTE_MS,
  });
  expect(secrets.marketplaceUrl).toBeNull();
  expect(telemetry.paymentsPrefix).toBe('');
});

test('ages are read as Go writes them, and the file goes before the environment', () => {
  const env = {
    RECONCILE_ORDER_STUCK_AFTER: '1h30m',
    RECONCILE_REFUND_STUCK_AFTER: '1.5h',
    RECONCILE_REFUND_ORPHAN_AFTER: '90s',
  };
  expect(read(env).marketplace.thresholds).toMatchObject({
    stuckOrdersMs: 90 * MINUTE_MS,
    stuckRefundsMs: 90 * MINUTE_MS,
    orphanRefundsMs: 90_000,
  });
  const yaml = 'marketplace: { ages: { orphan_refunds: 2m, pending_reversals: 1h } }';
  expect(read(env, yaml).marketplace.thresholds).toMatchObject({
    stuckOrdersMs: 90 * MINUTE_MS,
    orphanRefundsMs: 2 * MINUTE_MS,
    pendingReversalsMs: 60 * MINUTE_MS,
  });
  for (const wrong of ['30', '30 m', '-5m', 'soon', '1d', '9000h'])
    expect(() => read({ RECONCILE_ORDER_STUCK_AFTER: wrong })).toThrow(/RECONCILE_ORDER_STUCK_AFTER.*duration such as/);
});

test('a file that only names a marketplace leaves the policies to the environment', () => {
  const { reconciliation, marketplace } = read(
    {},
    'marketplace: { orders: { table: shop.sales, statuses: { pending: WAITS } } }',
  );
  expect(reconciliation.policies.map((policy) => policy.name)).toEqual(['default', 'default-balances']);
  expect(marketplace.mapping.orders).toEqual({
    ...DEFAULT_MAPPING.orders,
    table: 'shop.sales',
    statuses: { pending: 'WAITS' },
  });
  expect(marketplace.mapping.refunds).toEqual(DEFAULT_MAPPING.refunds);
});

test('a mistyped key, a name with a quote in it and a prefix that no metric may have are refused', () => {
  expect(() => read({}, 'marketplace: { orders: { columns: { payment_ids: x } } }')).toThrow(
    /Did you mean payment_id\?/,
  );
  expect(() => read({}, `marketplace: { orders: { table: 'a"; drop' } }`)).toThrow(/is no name of a table/);
  expect(() => read({ METRICS_PREFIX: '9-lives' })).toThrow(/METRICS_PREFIX/);
});

test('the URL of the marketplace is a secret, whole and by its password', () => {
  const url = 'postgresql://reader:pass%21word@db.example/shop';
  const config = read({ MARKETPLACE_DATABASE_URL: url, STELLAR_RPC_URL: 'https://rpc.example', TRUEUP_WATCH: 'all' });
  expect(secretValues(config.secrets)).toEqual(expect.arrayContaining([url, 'pass!word']));
  expect(config.entries.find((entry) => entry.name === 'MARKETPLACE_DATABASE_URL')).toMatchObject({
    value: null,
    redacted: true,
  });
});
