"""The commands of `cloud-train`, a module for each group: parse, call, print."""
