// Base64 with one spelling for each value: Node takes stray characters and spare bits, which would leave bits of a signed file uncovered.

/** Undefined unless the text is exactly what encoding the bytes gives. */
export function readBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}
