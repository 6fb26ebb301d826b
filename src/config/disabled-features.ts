// What a deployment doesn't have, by its configuration.
import type { Config } from './config.ts';

/** Parts that are off because nothing configures them, said rather than left to be found out. */
export function disabledFeatures(config: Config): string[] {
  const features: [boolean, string][] = [
    [config.reconciliation.enabled, 'scheduled reconciliation (LEDGER_RECONCILIATION_ENABLED=false)'],
    [config.book !== null, 'a book read from PostgreSQL (TRUEUP_BOOK_URL is unset)'],
    [
      config.reconciliation.alerts.channel !== null,
      'alerts (RECONCILIATION_ALERT_WEBHOOK_URL and SLACK_WEBHOOK_URL are unset)',
    ],
    [
      config.secrets.signingKeyPem !== null || config.source.kind === 'sandbox',
      'exports and evidence (TRUEUP_SIGNING_KEY_FILE is unset)',
    ],
    [
      config.secrets.marketplaceUrl !== null || config.source.kind === 'sandbox',
      "the health of a marketplace's payments (MARKETPLACE_DATABASE_URL is unset)",
    ],
    [config.evidence.storage === 'database', 'evidence that outlives the process (EXPORT_MANIFEST_STORAGE=memory)'],
    [config.serving.tokensFile !== null, 'tokens (TRUEUP_TOKENS_FILE is unset: callers on this machine only)'],
  ];
  return features.filter(([on]) => !on).map(([, name]) => name);
}
