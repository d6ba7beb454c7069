import type { Plugin as EsbuildPlugin } from "esbuild";
import type { Plugin as VitePlugin } from "vite";

export const TARGETS: string[];
export function esbuildFactories(): EsbuildPlugin;
export function viteFactories(): VitePlugin;
