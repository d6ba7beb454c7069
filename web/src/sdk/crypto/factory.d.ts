/** `factory:<module>`: a self-contained function that evaluates that module's bundle and returns its exports. */
declare module "factory:./argon2-kernel" {
  const factory: () => typeof import("./argon2-kernel");
  export default factory;
}
