// Runs the server of $SERVER in $WORKERS processes that share its port.
import cluster from "node:cluster";
import { pathToFileURL } from "node:url";

if (cluster.isPrimary) {
  for (let worker = 0; worker < Number(process.env.WORKERS); worker++) cluster.fork();
} else {
  await import(pathToFileURL(process.env.SERVER));
}
