// The ports: who may reach them, and what must be true before they leave this machine.
import type { Bind, Config } from './config.ts';
import type { Problems } from './problems.ts';
import type { NamedFiles } from './read-config.ts';
import { isLoopback } from './value-types.ts';
import type { VariableValues } from './variables.ts';

export function readServing(
  values: VariableValues,
  files: NamedFiles,
  problems: Problems,
  warnings: string[],
): Config['serving'] {
  const tokensFile = values.tokensFile === null ? null : files.inCwd(values.tokensFile);
  if (values.tokensFile !== null) files.read('TRUEUP_TOKENS_FILE', values.tokensFile);
  const tls = readTls(values, files, problems);
  const ports: [name: string, bind: Bind][] = [
    ['GRPC_BIND', values.grpcBind],
    ['HTTP_BIND', values.httpBind],
  ];
  for (const [name, bind] of ports) {
    if (isLoopback(bind.host)) continue;
    if (tokensFile === null) {
      problems.add(
        name,
        `"${printBind(bind)}": without tokens every port but the metrics port binds loopback only. Fix: set TRUEUP_TOKENS_FILE, or bind 127.0.0.1.`,
      );
    } else if (tls === null) {
      warnings.push(`${name} leaves this machine without TLS: tokens travel in cleartext unless a proxy encrypts`);
    }
  }
  return { grpc: values.grpcBind, http: values.httpBind, metrics: values.metricsBind, tls, tokensFile };
}

export function printBind({ host, port }: Bind): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function readTls(values: VariableValues, files: NamedFiles, problems: Problems): Config['serving']['tls'] {
  const { tlsCertFile: cert, tlsKeyFile: key, tlsClientCaFile: clientCa } = values;
  if (cert === null && key === null) {
    if (clientCa !== null)
      problems.add(
        'TRUEUP_TLS_CLIENT_CA_FILE',
        'is set without TLS. Fix: set TRUEUP_TLS_CERT_FILE and TRUEUP_TLS_KEY_FILE too.',
      );
    return null;
  }
  if (cert === null || key === null) {
    const missing = cert === null ? 'TRUEUP_TLS_CERT_FILE' : 'TRUEUP_TLS_KEY_FILE';
    problems.add(missing, 'is unset though its companion is set. Fix: a certificate and its key go together.');
    return null;
  }
  files.read('TRUEUP_TLS_CERT_FILE', cert);
  files.read('TRUEUP_TLS_KEY_FILE', key);
  if (clientCa !== null) files.read('TRUEUP_TLS_CLIENT_CA_FILE', clientCa);
  return {
    certFile: files.inCwd(cert),
    keyFile: files.inCwd(key),
    clientCaFile: clientCa === null ? null : files.inCwd(clientCa),
  };
}
