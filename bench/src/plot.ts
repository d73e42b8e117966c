/** A line through points: what grows, and what it takes. */
export interface Curve {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Plot {
  readonly title: string;
  /** What is counted on each axis, in words: `files`, `s of processor`. */
  readonly x: string;
  readonly y: string;
  readonly curves: readonly Curve[];
}

const [width, height, edge] = [640, 400, 60];
const colours = ["#1b6ca8", "#b5651d", "#3c8d40", "#7b4fa3", "#b03a48", "#5f6b6d"];

/** Draws curves as an SVG image, from zero on both axes so that a straight line is seen to be one. */
export function drawPlot({ title, x: across, y: up, curves }: Plot): string {
  const all = curves.flatMap(({ points }) => points);
  const most = (at: 0 | 1) => Math.max(...all.map(point => point[at])) || 1;
  const [mostX, mostY] = [most(0), most(1)];
  const x = (value: number) => (edge + (value / mostX) * (width - 2 * edge)).toFixed(1);
  const y = (value: number) => (height - edge - (value / mostY) * (height - 2 * edge)).toFixed(1);
  const lines = curves.flatMap(({ name, points }, at) => {
    const colour = colours[at % colours.length]!;
    const path = points.map(([a, b]) => `${x(a)},${y(b)}`).join(" ");
    return [
      `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${path}"/>`,
      ...points.map(([a, b]) => `<circle cx="${x(a)}" cy="${y(b)}" r="3" fill="${colour}"/>`),
      text(width - edge, edge + 18 * at, name, "end", colour),
    ];
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    text(width / 2, 24, title, "middle"),
    `<path d="M${edge} ${edge}V${height - edge}H${width - edge}" fill="none" stroke="black"/>`,
    text(width - edge, height - edge + 20, `${mostX.toLocaleString("en")} ${across}`, "end"),
    text(edge, edge - 8, `${mostY.toLocaleString("en", { maximumFractionDigits: 1 })} ${up}`, "start"),
    text(edge - 6, height - edge + 4, "0", "end"),
    ...lines,
    "</svg>",
    "",
  ].join("\n");
}

function text(x: number, y: number, words: string, anchor: string, colour = "black"): string {
  const safe = words.replace(/&/g, "&amp;").replace(/</g, "&lt;");
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" fill="${colour}">${safe}</text>`;
}
