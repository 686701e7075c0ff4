// What npm's standardwebhooks and svix say of messages: cases in JSON on standard input, one answer each, accepted by
// both or not, as a JSON list on standard output. FISCUS_PEERS is the directory that they are installed in.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.FISCUS_PEERS, "package.json"));
const libraries = [require("standardwebhooks").Webhook, require("svix").Webhook];

function accepts(Webhook, { secret, headers, body }) {
  try {
    new Webhook(secret).verify(body, headers);
    return true;
  } catch {
    return false;
  }
}

const answers = JSON.parse(readFileSync(0, "utf8")).map((one) => {
  const said = libraries.map((Webhook) => accepts(Webhook, one));
  if (said[0] !== said[1]) throw new Error(`they disagree on ${JSON.stringify(one)}`);
  return said[0];
});
process.stdout.write(JSON.stringify(answers));
