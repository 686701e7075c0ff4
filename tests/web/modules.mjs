// The packages of package-lock.json, which the set-up keeps outside of the clone.
import { createRequire } from 'node:module';

export const require = createRequire(`${process.env.FISCUS_WEB}/package.json`);
