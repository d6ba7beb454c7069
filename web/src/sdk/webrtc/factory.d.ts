/** `factory:<module>`: a self-contained function that evaluates that module's bundle and returns its exports. */
declare module "factory:./frame-kernel" {
  const factory: () => typeof import("./frame-kernel");
  export default factory;
}
