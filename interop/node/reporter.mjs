// A test runner's report in one line a test, so that `run` can count: `ok`, `not ok` or `skip`, and the reason below a failure.

const indent = (text) => String(text).replace(/^/gm, '    ');

function reason(error) {
  const cause = error?.cause ?? error;
  return cause?.stack ?? cause?.message ?? String(cause);
}

export default async function* report(source) {
  for await (const { type, data } of source) {
    const ours = data?.details?.type !== 'suite';
    if (type === 'test:pass' && ours) {
      yield `${data.skip === undefined ? 'ok' : 'skip'} ${data.name}\n`;
    } else if (type === 'test:fail' && ours) {
      yield `not ok ${data.name}\n${indent(reason(data.details.error))}\n`;
    } else if (type === 'test:stderr' || type === 'test:stdout') {
      yield data.message;
    }
  }
}
