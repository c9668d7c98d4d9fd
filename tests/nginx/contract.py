#!/usr/bin/env python3
"""Holds answers of the control API against its OpenAPI file.

Usage: contract.py OPENAPI < LINES

A line is a JSON object: method, path (of the file, with its braces), status,
body (JSON), and sent (the request's JSON, where it was one that should be
right).  Prints one line for each that does not fit, and at the end the
operations and statuses that were seen.
"""

import json
import sys

from jsonschema import Draft202012Validator, RefResolver


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        document = json.load(file)

    resolver = RefResolver("", document)

    def validator(schema):
        return Draft202012Validator(schema, resolver=resolver)

    def resolve(node):
        return resolver.resolve(node["$ref"])[1] if "$ref" in node else node

    Draft202012Validator.check_schema(
        {"$defs": document["components"]["schemas"]})
    seen = set()

    for line in sys.stdin:
        call = json.loads(line)
        where = f'{call["method"]} {call["path"]} {call["status"]}'
        operation = document["paths"].get(call["path"], {}).get(
            call["method"].lower())

        if operation is None:
            print(f"{where}: no such operation in the file")
            continue

        seen.add(operation["operationId"])
        response = operation["responses"].get(str(call["status"]))

        if response is None:
            print(f"{where}: the file does not know this status")
            continue

        schema = resolve(response)["content"]["application/json"]["schema"]
        for error in validator(schema).iter_errors(call["body"]):
            print(f"{where}: {error.json_path}: {error.message[:200]}")

        # what the file calls right is taken, what it calls wrong is not
        if call.get("sent") is not None and "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"][
                "schema"]
            fits = validator(schema).is_valid(call["sent"])

            if call["status"] < 300 and not fits:
                print(f"{where}: taken, though the file calls the body wrong")
            if call["status"] == 400 and fits and not call.get("deep"):
                print(f"{where}: refused, though the file calls it right: "
                      f'{json.dumps(call["sent"])[:200]}')

    every = {operation["operationId"] for path in document["paths"].values()
             for operation in path.values()}

    for name in sorted(every - seen):
        print(f"{name}: was never called")

    print(f"seen {len(seen)} of {len(every)}")


main()
