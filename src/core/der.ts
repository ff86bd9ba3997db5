/** Tag octets of what certificates and the backup container use (X.690 section 8.1.2). */
export const TAG = {
  integer: 0x02,
  octetString: 0x04,
  boolean: 0x01,
  bitString: 0x03,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** @param number the context tag, `[0]` to `[30]`; constructed unless `primitive` */
export const contextTag = (number: number, form: 'constructed' | 'primitive' = 'constructed'): number =>
  (form === 'constructed' ? 0xa0 : 0x80) | number;

export function der(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(content);
  return Buffer.concat([Buffer.from([tag]), derLength(body.length), body]);
}

export const sequence = (...content: readonly Uint8Array[]): Buffer => der(TAG.sequence, ...content);
export const octets = (content: Uint8Array): Buffer => der(TAG.octetString, content);
export const nothing = (): Buffer => der(TAG.null);

/** A non-negative INTEGER (X.690 section 8.3). */
export function integer(value: number | bigint): Buffer {
  const hex = value.toString(16);
  const bytes = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex');
  return der(TAG.integer, bytes[0]! >= 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes);
}

/** @param dotted such as `1.2.840.113549.1.5.12` */
export function oid(dotted: string): Buffer {
  const [first, second, ...others] = dotted.split('.').map(Number);
  const arc = (value: number): number[] => {
    const digits = [value % 128];
    for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128))
      digits.unshift((rest % 128) | 0x80);
    return digits;
  };
  return der(TAG.oid, Buffer.from([first! * 40 + second!, ...others.flatMap(arc)]));
}

/** Reads elements one after the other; whatever is not as expected is one error, which `fail` makes. */
export class DerReader {
  readonly #bytes: Buffer;
  readonly #fail: (problem: string) => Error;
  #at = 0;

  constructor(bytes: Uint8Array, fail: (problem: string) => Error = (problem) => new Error(problem)) {
    this.#fail = fail;
    this.#bytes = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** Tag of the next element; undefined at the end. */
  get tag(): number | undefined {
    return this.#bytes[this.#at];
  }

  /** The content of the next element, which has to have this tag. */
  next(tag: number): Buffer {
    if (this.tag !== tag) throw this.#fail('its structure is not the expected one');
    const start = this.skip();
    return this.#bytes.subarray(start, this.#at);
  }

  /** Goes past the next element. @returns where its content began */
  skip(): number {
    const bytes = this.#bytes;
    const first = bytes[this.#at + 1];
    if (first === undefined) throw this.#fail('its structure is not the expected one');
    const lengthOctets = first & 0x80 ? first & 0x7f : 0;
    const start = this.#at + 2 + lengthOctets;
    if (lengthOctets > 4 || bytes.length < start) throw this.#fail('it is cut off');
    const length = lengthOctets === 0 ? first : bytes.readUIntBE(this.#at + 2, lengthOctets);
    if ((first & 0x80 && lengthOctets === 0) || bytes.length < start + length)
      throw this.#fail('it is cut off');
    this.#at = start + length;
    return start;
  }

  /** The next element with its tag and length. */
  whole(): Buffer {
    const start = this.#at;
    this.skip();
    return this.#bytes.subarray(start, this.#at);
  }

  /** All that has not been read. */
  rest(): Buffer {
    return this.#bytes.subarray(this.#at);
  }

  enter(tag: number = TAG.sequence): DerReader {
    return new DerReader(this.next(tag), this.#fail);
  }

  /** @throws when it is not this OID */
  expectOid(dotted: string): void {
    if (!this.next(TAG.oid).equals(new DerReader(oid(dotted)).next(TAG.oid)))
      throw this.#fail('it uses an algorithm that Sallyport does not write; openssl may open it');
  }

  /** A small non-negative INTEGER. */
  integer(): number {
    const bytes = this.next(TAG.integer);
    if (bytes.length === 0 || bytes.length > 5 || bytes[0]! >= 0x80)
      throw this.#fail('a number is out of range');
    return bytes.readUIntBE(0, bytes.length);
  }
}

function derLength(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  const hex = length.toString(16);
  const bytes = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex');
  return Buffer.concat([Buffer.from([0x80 | bytes.length]), bytes]);
}
