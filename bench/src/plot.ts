import type { Curve } from "./bench-growth.ts";

const [width, height, edge] = [640, 400, 60];
const colours = ["#1b6ca8", "#b5651d", "#3c8d40"];

/** Draws curves as an SVG image, from zero on both axes so that a straight line is seen to be one. */
export function plotGrowth(title: string, curves: readonly Curve[]): string {
  const all = curves.flatMap(({ points }) => points);
  const [mostX, mostY] = [Math.max(...all.map(([x]) => x)), Math.max(...all.map(([, y]) => y))];
  const x = (value: number) => edge + (value / mostX) * (width - 2 * edge);
  const y = (value: number) => height - edge - (value / mostY) * (height - 2 * edge);
  const lines = curves.flatMap(({ name, points }, at) => {
    const colour = colours[at % colours.length]!;
    const path = points.map(([files, cpu]) => `${x(files).toFixed(1)},${y(cpu).toFixed(1)}`).join(" ");
    return [
      `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${path}"/>`,
      ...points.map(
        ([files, cpu]) =>
          `<circle cx="${x(files).toFixed(1)}" cy="${y(cpu).toFixed(1)}" r="3" fill="${colour}"/>`,
      ),
      text(width - edge, edge + 18 * at, name, "end", colour),
    ];
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    text(width / 2, 24, title, "middle"),
    `<path d="M${edge} ${edge}V${height - edge}H${width - edge}" fill="none" stroke="black"/>`,
    text(width - edge, height - edge + 20, `${mostX.toLocaleString("en")} files`, "end"),
    text(edge, edge - 8, `${mostY.toFixed(1)} s of processor`, "start"),
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
