// The labels at the ends of a chart's series.

import { spreadLabels } from './chart_layout.js';
import { query, setText } from './dom.js';

const GAP = 8; // pixels between a series' end and its label
const FONT_SIZE = 13; // pixels, as in curves.css
const FLOOR_OVERLAP = 4; // pixels that the lowest label may reach below the plot

/**
 * @typedef {{_offset: number, _length: number, d2p: (value: number) => number}} Axis as plotly computed it, in pixels
 */

/**
 * Writes labels at the ends of the series, moved apart where they would lie on one another.
 * @param {HTMLElement} box
 * @param {{xaxis: Axis, yaxis: Axis}} axes
 * @param {number} lastStep
 * @param {{tint: string, name: string, text: string, value: number}[]} ends
 */
export function placeLabels(box, { xaxis, yaxis }, lastStep, ends) {
  while (box.children.length < ends.length) box.append(createLabel());
  while (box.children.length > ends.length) box.lastChild?.remove();
  const labels = ends.map(({ tint, name, text, value }, index) => {
    const element = /** @type {HTMLElement} */ (box.children[index]);
    element.dataset.tint = tint;
    setText(query(element, 'span'), name);
    setText(query(element, 'b'), text);
    return { element, top: pixelOf(yaxis, value), height: 0 };
  });
  box.style.left = `${pixelOf(xaxis, lastStep) + GAP}px`;
  for (const label of labels) label.height = label.element.offsetHeight;
  spreadLabels(labels, yaxis._offset + yaxis._length + FLOOR_OVERLAP);
  for (const { element, top, height } of labels) {
    element.style.transform = `translateY(${Math.round(top - height / 2)}px)`;
  }
}

/** Where a value is on an axis, within the plot. @param {Axis} axis @param {number} value */
export const pixelOf = (axis, value) =>
  Math.min(Math.max(axis._offset + axis.d2p(value), axis._offset), axis._offset + axis._length);

function createLabel() {
  const label = document.createElement('p');
  label.append(document.createElement('span'), document.createElement('b'));
  return label;
}

/** @type {CanvasRenderingContext2D | null | undefined} */
let canvas;

/** How many pixels a label's text takes, as bold as values are. @param {string} text @param {string} family */
export function measureLabel(text, family) {
  canvas ??= document.createElement('canvas').getContext('2d');
  if (!canvas) return 0;
  canvas.font = `700 ${FONT_SIZE}px ${family}`;
  return canvas.measureText(text).width;
}
