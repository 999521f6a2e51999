#!/usr/bin/env python3
"""Holds recorded replies against openapi.yaml.

    check_traffic.py OPENAPI TRAFFIC...              every reply is one that the file describes
    check_traffic.py --coverage OPENAPI TRAFFIC...   and every endpoint and status that it declares was seen, every field is described

TRAFFIC: one JSON object a line: {"method","path","status","type","headers","body"}; body is the text of a JSON reply, else "".
"""
import json
import math
import re
import sys

import yaml

# Statuses that any endpoint may answer with, besides its own: no such method, starting or stopping.
EVERYWHERE = {405, 503}


# ---------------------------------------------------------------- JSON Schema, the part that openapi.yaml uses

TYPES = {
    'object': lambda v: isinstance(v, dict), 'array': lambda v: isinstance(v, list), 'string': lambda v: isinstance(v, str),
    'boolean': lambda v: isinstance(v, bool), 'null': lambda v: v is None,
    'number': lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v),
    'integer': lambda v: not isinstance(v, bool) and (isinstance(v, int) or isinstance(v, float) and v.is_integer()),
}
KNOWN = {'$ref', 'type', 'enum', 'const', 'minimum', 'maximum', 'minLength', 'maxLength', 'pattern', 'minItems', 'maxItems', 'items',
         'required', 'properties', 'additionalProperties', 'unevaluatedProperties', 'allOf', 'oneOf',
         'description', 'default', 'examples', 'format', 'title', '$schema'}


class Schema:
    def __init__(self, document):
        self.document = document

    def resolve(self, node):
        while '$ref' in node and set(node) <= {'$ref', 'description'}:
            node = self.target(node['$ref'])
        return node

    def target(self, ref):
        node = self.document
        for part in ref.removeprefix('#/').split('/'):
            node = node[part.replace('~1', '/').replace('~0', '~')]
        return node

    def errors(self, schema, value, where=''):
        """A list of what is wrong with value, and the names of the properties that the schema speaks of."""
        unknown = set(schema) - KNOWN
        if unknown:
            return [f'{where}: the checker does not know {sorted(unknown)}'], set()
        found, seen = [], set()
        for part in [self.target(schema['$ref'])] if '$ref' in schema else []:
            more, names = self.errors(part, value, where)
            found += more
            seen |= names
        kinds = schema.get('type')
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if kinds and not any(TYPES[kind](value) for kind in kinds):
            return found + [f'{where}: {value!r:.80} is not {" or ".join(kinds)}'], seen
        found += self.simple(schema, value, where)
        for part in schema.get('allOf', []):
            more, names = self.errors(part, value, where)
            found += more
            seen |= names
        if 'oneOf' in schema:
            results = [self.errors(part, value, where) for part in schema['oneOf']]
            fitting = [names for errors, names in results if not errors]
            if len(fitting) != 1:
                found.append(f'{where}: fits {len(fitting)} of the alternatives: {[errors[:2] for errors, _ in results]}')
            for names in fitting:
                seen |= names
        if isinstance(value, dict):
            found += self.members(schema, value, where, seen)
        if isinstance(value, list) and 'items' in schema:
            for index, item in enumerate(value):
                found += self.errors(schema['items'], item, f'{where}/{index}')[0]
        return found, seen

    @staticmethod
    def simple(schema, value, where):
        found = []
        if 'const' in schema and value != schema['const']:
            found.append(f'{where}: {value!r:.80} is not {schema["const"]!r}')
        if 'enum' in schema and value not in schema['enum']:
            found.append(f'{where}: {value!r:.80} is not one of {schema["enum"]}')
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if value < schema.get('minimum', -math.inf) or value > schema.get('maximum', math.inf):
                found.append(f'{where}: {value} is out of bounds')
        if isinstance(value, str):
            if not schema.get('minLength', 0) <= len(value) <= schema.get('maxLength', math.inf):
                found.append(f'{where}: a text of length {len(value)}')
            if 'pattern' in schema and not re.search(schema['pattern'], value):
                found.append(f'{where}: {value!r:.80} does not match {schema["pattern"]}')
        if isinstance(value, list) and not schema.get('minItems', 0) <= len(value) <= schema.get('maxItems', math.inf):
            found.append(f'{where}: {len(value)} items')
        return found

    def members(self, schema, value, where, seen):
        found = [f'{where}: {name} is missing' for name in schema.get('required', []) if name not in value]
        properties = schema.get('properties', {})
        for name, item in value.items():
            if name in properties:
                found += self.errors(properties[name], item, f'{where}/{name}')[0]
        own = set(properties)
        if schema.get('additionalProperties') is False:
            found += [f'{where}: {name} is not described' for name in value if name not in own]
        seen |= own
        if schema.get('unevaluatedProperties') is False:
            found += [f'{where}: {name} is not described' for name in value if name not in seen]
        return found


# ---------------------------------------------------------------- the API

def bare(schema, node):
    """A schema without references, descriptions and the order of names, for comparison."""
    if isinstance(node, dict):
        if '$ref' in node:
            return bare(schema, schema.target(node['$ref']))
        return {key: bare(schema, item) for key, item in node.items() if key not in ('description', 'examples')}
    if isinstance(node, list):
        return [bare(schema, item) for item in node]
    return float(node) if isinstance(node, (int, float)) and not isinstance(node, bool) else node


class Api:
    def __init__(self, path):
        with open(path, encoding='utf-8') as file:
            self.document = yaml.safe_load(file)
        self.schema = Schema(self.document)
        templates = sorted(self.document['paths'], key=lambda path: path.count('{'))
        self.patterns = [(re.compile(re.sub(r'\\{\w+\\}', '[^/]+', re.escape(path)) + '$'), path) for path in templates]

    def template(self, path):
        return next((template for pattern, template in self.patterns if pattern.match(path)), None)

    def declared(self):
        for path, item in self.document['paths'].items():
            for method, operation in item.items():
                if method != 'parameters':
                    for status in operation['responses']:
                        yield method.upper(), path, int(status)

    def undescribed(self):
        """Fields and parameters that the file does not describe."""
        def walk(node, where):
            if isinstance(node, dict):
                for name, field in (node.get('properties') or {}).items():
                    if isinstance(field, dict) and 'description' not in field and 'description' not in self.schema.resolve(field):
                        yield f'{where}/{name}'
                if 'in' in node and 'name' in node and 'description' not in node:
                    yield where
                for key, item in node.items():
                    yield from walk(item, f'{where}/{key}')
            elif isinstance(node, list):
                for index, item in enumerate(node):
                    yield from walk(item, f'{where}/{index}')
        return list(walk(self.document, ''))

    def problem(self, record, template=None):
        """What is wrong with an error: a problem, or under /v2 what the Open Inference Protocol says."""
        if template and template.startswith('/v2'):
            if record['type'] != 'application/json':
                return [f'an error of type {record["type"]!r}']
            return self.schema.errors(self.document['components']['schemas']['InferenceError'], json.loads(record['body']))[0]
        if record['type'] != 'application/problem+json':
            return [f'an error of type {record["type"]!r}']
        body = json.loads(record['body'])
        errors = self.schema.errors(self.document['components']['schemas']['Problem'], body)[0]
        if body.get('status') != record['status']:
            errors.append('the problem tells another status')
        return errors

    def check(self, record):
        """What is wrong with one reply; None as the operation when it is of no endpoint."""
        template = self.template(record['path'])
        method = 'GET' if record['method'] == 'HEAD' else record['method']
        operation = self.document['paths'].get(template, {}).get(method.lower())
        status = record['status']
        if not operation:
            return None, self.problem(record) if status >= 400 and record['method'] != 'HEAD' else []
        key = (method, template, status)
        if record['method'] == 'HEAD':
            return key, []
        response = operation['responses'].get(str(status))
        if response is None:
            return key, self.problem(record, template if status != 405 else None) if status in EVERYWHERE else [f'status {status} is not declared']
        errors = self.problem(record, template) if status >= 400 else []
        response = self.schema.resolve(response)
        for name in response.get('headers', {}):
            if name.lower() not in record['headers']:
                errors.append(f'the header {name} is missing')
        content = response.get('content')
        if not content:
            return key, errors + (['a body that is not declared'] if record['body'] else [])
        if record['type'] not in content:
            return key, errors + [f'type {record["type"]!r} is not declared']
        schema = content[record['type']].get('schema')
        if schema and record['type'].endswith('json') and status < 400:
            errors += self.schema.errors(schema, json.loads(record['body']))[0]
        if template == '/v1/schemas/run':
            errors += self.same_as_schema(json.loads(record['body']))
        return key, errors

    def same_as_schema(self, served):
        """The run's schema that the service makes from its table is the one of this file."""
        ours = self.document['components']['schemas']['RunFields']['properties']
        names = sorted(set(ours) | set(served['properties']))
        return [f'RunFields and /v1/schemas/run differ in {name}' for name in names
                if bare(self.schema, ours.get(name)) != bare(self.schema, served['properties'].get(name))]


def main():
    arguments = sys.argv[1:]
    coverage = arguments[0] == '--coverage'
    api = Api(arguments[coverage])
    seen, bad, count = set(), 0, 0
    for path in arguments[coverage + 1:]:
        with open(path, encoding='utf-8') as file:
            for line in file:
                record = json.loads(line)
                key, errors = api.check(record)
                seen.add(key)
                count += 1
                for error in errors:
                    bad += 1
                    print(f'{record["method"]} {record["path"]} {record["status"]}: {error}')
    if coverage:
        for key in sorted(set(api.declared()) - seen):
            bad += 1
            print(f'{key[0]} {key[1]}: status {key[2]} is declared and no test has seen it')
        for where in api.undescribed():
            bad += 1
            print(f'{where} has no description')
    print(f'{count} replies, {len(seen - {None})} of {len(set(api.declared()))} declared answers, {bad} errors')
    sys.exit(1 if bad or not count else 0)


main()
