import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** What the image starts: `node`, its flags and the program. */
export function imageEntrypoint(): readonly string[] {
  const text = readFileSync('Dockerfile', 'utf8').replaceAll('\\\n', ' ');
  return JSON.parse(/^ENTRYPOINT (.*)$/m.exec(text)![1]!) as string[];
}

/** The folders of the image below a temporary one, and the package built as the image builds it. */
export class ImageFolders implements Disposable {
  readonly root = mkdtempSync(join(tmpdir(), 'sallyport-image-'));
  readonly #app = mkdtempSync(join(mkdirp('.tmp'), 'image-'));

  constructor() {
    for (const name of ['package.json', 'tsconfig.json', 'tsconfig.build.json', 'src'])
      cpSync(name, join(this.#app, name), { recursive: true });
    execFileSync('npm', ['run', '-s', 'build'], { cwd: this.#app });
    for (const flag of imageEntrypoint())
      if (flag.startsWith('--allow-fs') && !flag.includes('/proc/') && !flag.endsWith('=/app'))
        mkdirSync(this.path(flag.split('=')[1]!), { recursive: true, mode: 0o700 });
  }

  /** Where a path of the image is here. */
  path(ofImage: string): string {
    return join(this.root, ofImage);
  }

  /** Node as the image starts it, with other paths: /app is this repository, where `node_modules` is. */
  get flags(): readonly string[] {
    return imageEntrypoint()
      .slice(1, -1)
      .map((flag) => {
        const [name, path] = flag.split('=');
        if (!path?.startsWith('/') || path.startsWith('/proc/')) return flag;
        return `${name}=${path === '/app' ? resolve('.') : this.path(path)}`;
      });
  }

  /** Flags and program. */
  get command(): readonly string[] {
    return [...this.flags, join(this.#app, imageEntrypoint().at(-1)!)];
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true });
    rmSync(this.#app, { recursive: true, force: true });
  }
}

function mkdirp(folder: string): string {
  mkdirSync(folder, { recursive: true });
  return folder;
}
