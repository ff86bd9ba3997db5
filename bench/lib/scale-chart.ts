import { FLEET, type Projection, type ScalePoint } from './scale-projection.ts';

interface Curve {
  readonly title: string;
  readonly values: readonly (readonly [nodes: number, value: number])[];
  /** Where the straight line on from what was measured ends. */
  readonly end: readonly [nodes: number, value: number];
}

const [WIDTH, HEIGHT, LEFT, TOP] = [250, 150, 44, 34];

/** Curves side by side, in colours that can be read on light and on dark. */
export function drawScale(points: readonly ScalePoint[], projected: Projection): string {
  const curve = (
    title: string,
    value: (point: ScalePoint) => number,
    end: readonly [number, number],
  ): Curve => ({
    title,
    values: points.map((point) => [point.nodes, value(point)]),
    end,
  });
  const { nodes, replicas } = FLEET;
  const curves = [
    curve('replica, MiB for its sessions', (point) => point.replicaHeapMib, [
      nodes / replicas,
      projected.replicaHeapMib,
    ]),
    curve('nats-server, MiB', (point) => point.natsMib, [nodes, projected.natsMib]),
    curve('all claims made, s', (point) => point.joinMs / 1000, [nodes, projected.joinS]),
  ];
  const width = curves.length * (WIDTH + LEFT + 16);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${HEIGHT + TOP + 40}" font-family="sans-serif" font-size="11">
<title>Growth of memory and of the time until all nodes are claimed</title>
<style>text{fill:#57606a}.axis{stroke:#8b949e;fill:none}.line{stroke:#1f77d0;fill:none;stroke-width:2}.on{stroke-dasharray:5 4}.dot{fill:#1f77d0}@media (prefers-color-scheme: dark){text{fill:#adb5bf}.line{stroke:#6cb2ff}.dot{fill:#6cb2ff}}</style>
${curves.map((one, index) => `<g transform="translate(${index * (WIDTH + LEFT + 16) + LEFT} ${TOP})">${draw(one)}</g>`).join('\n')}
</svg>
`;
}

function draw({ title, values, end }: Curve): string {
  const all = [...values, end];
  const maxX = Math.max(...all.map(([nodes]) => nodes));
  const maxY = Math.max(...all.map(([, value]) => value)) || 1;
  const x = (nodes: number) => ((nodes / maxX) * WIDTH).toFixed(1);
  const y = (value: number) => (HEIGHT - (Math.max(0, value) / maxY) * HEIGHT).toFixed(1);
  const at = ([nodes, value]: readonly [number, number]) => `${x(nodes)},${y(value)}`;
  const label = (nodes: number) => `${nodes / 1000}k`;
  const last = values.at(-1)!;
  const ticks = [...new Set(all.map(([nodes]) => nodes))].filter((nodes) => nodes > maxX / 30);
  return [
    `<text x="0" y="-14">${title}</text>`,
    `<path class="axis" d="M0 0V${HEIGHT}H${WIDTH}"/>`,
    `<polyline class="line" points="${values.map(at).join(' ')}"/>`,
    `<polyline class="line on" points="${at(last)} ${at(end)}"/>`,
    ...values.map(([nodes, value]) => `<circle class="dot" r="3" cx="${x(nodes)}" cy="${y(value)}"/>`),
    ...ticks.map(
      (nodes) => `<text x="${x(nodes)}" y="${HEIGHT + 16}" text-anchor="middle">${label(nodes)}</text>`,
    ),
    `<text x="-6" y="4" text-anchor="end">${maxY >= 10 ? maxY.toFixed(0) : maxY.toFixed(1)}</text>`,
    `<text x="-6" y="${HEIGHT}" text-anchor="end">0</text>`,
    `<text x="${WIDTH}" y="${HEIGHT + 30}" text-anchor="end">nodes</text>`,
  ].join('');
}
