// Server-side request forgery: which addresses may be called, decided where the connection is made.
import { lookup as dnsLookup } from 'node:dns';
import type { LookupAddress, LookupOptions } from 'node:dns';
import ipaddr from 'ipaddr.js';
import { TrueUpError } from '../../core/errors.ts';

export interface AddressGuardOptions {
  /** True lets every address through (TRUEUP_ALLOW_PRIVATE_ADDRESSES, tests). */
  readonly allowPrivateAddresses: boolean;
  /**
   * URLs as the operator wrote them. One that names a loopback or private address literally is the operator's
   * explicit will; a name that merely resolves there is not, because names are under other people's control.
   */
  readonly operatorUrls: readonly string[];
}

export interface AddressGuard {
  /** @throws TrueUpError SOURCE_ADDRESS_FORBIDDEN for a URL whose host is a literal address that may not be called. */
  checkUrl(url: URL): void;
  /** A drop-in for node's dns.lookup that refuses forbidden addresses; every connection goes through it. */
  readonly lookup: typeof guardedLookup;
  /** Operator URLs that are let through although they name a private address, as host names, for a log line. */
  readonly exemptHosts: readonly string[];
}

/** What an operator may name literally; link-local stays shut, since cloud metadata services live there. */
const EXEMPTIBLE_RANGES = new Set(['loopback', 'private', 'uniqueLocal', 'carrierGradeNat']);

type LookupCallback = (error: Error | null, address: string | LookupAddress[], family?: number) => void;
declare function guardedLookup(hostname: string, options: LookupOptions, callback: LookupCallback): void;

export function createAddressGuard(options: AddressGuardOptions, resolve: typeof dnsLookup = dnsLookup): AddressGuard {
  const exemptHosts = exemptHostsOf(options.operatorUrls);
  const exempt = new Set(exemptHosts);

  const mayCall = (hostname: string, address: string): boolean => {
    if (options.allowPrivateAddresses) return true;
    const range = rangeOf(address);
    return range === 'unicast' || (exempt.has(bareHost(hostname)) && EXEMPTIBLE_RANGES.has(range));
  };

  return {
    exemptHosts,
    checkUrl(url) {
      const host = bareHost(url.hostname);
      if (ipaddr.isValid(host) && !mayCall(host, host)) throw forbidden(host, rangeOf(host));
    },
    lookup(hostname, lookupOptions, callback) {
      resolve(hostname, { ...lookupOptions, all: true }, (error, addresses) => {
        if (error) return callback(error, []);
        // One forbidden address among several is refused whole: which one is dialled is not ours to choose.
        const bad = addresses.find(({ address }) => !mayCall(hostname, address));
        if (bad) return callback(forbidden(hostname, rangeOf(bad.address)), []);
        if (lookupOptions.all) return callback(null, addresses);
        const first = addresses[0];
        if (!first) return callback(new Error(`no address for ${hostname}`), []);
        callback(null, first.address, first.family);
      });
    },
  };
}

/** `unicast` for a public address, else the special range it lies in; an IPv4 address inside IPv6 counts as itself. */
export function rangeOf(address: string): string {
  if (!ipaddr.isValid(address)) return 'invalid';
  return ipaddr.process(address).range();
}

function exemptHostsOf(urls: readonly string[]): string[] {
  const hosts = urls.filter((url) => URL.canParse(url)).map((url) => bareHost(new URL(url).hostname));
  return [...new Set(hosts)].filter(
    (host) => isLocalhostName(host) || (ipaddr.isValid(host) && EXEMPTIBLE_RANGES.has(rangeOf(host))),
  );
}

/** RFC 6761 reserves these names for loopback, so they are as good as a literal. */
function isLocalhostName(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost');
}

function bareHost(hostname: string): string {
  return hostname
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '');
}

function forbidden(host: string, range: string): TrueUpError {
  return new TrueUpError('SOURCE_ADDRESS_FORBIDDEN', `${host} is a ${range} address, which TrueUp does not call`, {
    fix: 'If this host is yours, set TRUEUP_ALLOW_PRIVATE_ADDRESSES=true, or write its address itself in the configured URL.',
    metadata: { host, range },
  });
}
