/** Sallyport as a library: run a gateway inside your own process. */
export { LiveConfig } from './config/live-config.ts';
export { type ConfigSources, type LoadedConfig, loadConfig } from './config/load.ts';
export type { Config, ConfigInput } from './config/schema.ts';
export type { ReadyInfo } from './contracts/gateway-info.ts';
export { type ErrorCode, isSallyportError, SallyportError } from './core/errors.ts';
export type { Logger } from './core/log.ts';
export { createLogger } from './core/pino-log.ts';
export { type Gateway, startGateway } from './gateway/start-gateway.ts';
export type { Message } from './protocol/message.ts';
