/** `factory:<module>`: a self-contained function that evaluates that module's bundle and returns its exports. */
declare module "factory:./argon2-kernel" {
  const factory: () => typeof import("./argon2-kernel");
  export default factory;
}

/** The bytes of a WebAssembly module, which the build puts into the bundle. */
declare module "@phi-ag/argon2/argon2.wasm" {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}
