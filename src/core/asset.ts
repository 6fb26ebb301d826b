// Assets as text: `native`, CODE:ISSUER, or a contract id (C...).
import { TrueUpError } from './errors.ts';
import { STELLAR_CLASSIC_SCALE } from './money.ts';

export const NATIVE = 'native';

const CLASSIC = /^[A-Za-z0-9]{1,12}:G[A-Z2-7]{55}$/;
const CONTRACT = /^C[A-Z2-7]{55}$/;
export const ACCOUNT_PATTERN = /^G[A-Z2-7]{55}$/;

/**
 * The one spelling of an asset: `XLM` and `native` in any case are `native`.
 *
 * @throws TrueUpError INVALID_REQUEST for any other text than the three forms.
 */
export function normalizeAsset(text: string): string {
  const trimmed = text.trim();
  if (/^(native|xlm)$/i.test(trimmed)) return NATIVE;
  if (CLASSIC.test(trimmed) || CONTRACT.test(trimmed)) return trimmed;
  throw new TrueUpError(
    'INVALID_REQUEST',
    `asset ${JSON.stringify(trimmed.slice(0, 80))} is none of native, CODE:ISSUER, C... (a contract id)`,
  );
}

/** Decimals of the asset's minor unit; undefined for a contract token whose metadata isn't known. */
export function assetScale(asset: string): number | undefined {
  return asset.startsWith('C') && CONTRACT.test(asset) ? undefined : STELLAR_CLASSIC_SCALE;
}
