/** Has a client of the SDK answered by a service of the lab. */

type Middleware = (
  next: unknown,
  context: { commandName: string },
) => (args: { input: unknown }) => Promise<{ output: object; response: object }>;

/** `answer` is given the operation's name, and the input as the caller gave it. */
export function answering(
  client: { readonly middlewareStack: unknown },
  answer: (operation: string, input: unknown) => Promise<object>,
): void {
  const stack = client.middlewareStack as { addRelativeTo(middleware: Middleware, options: object): void };
  // Inside of the retries: serialisers, retries and paginators are the SDK's own. Nothing is signed: nobody would check.
  stack.addRelativeTo(
    (_next, { commandName }) =>
      async ({ input }) => {
        const output = await answer(commandName.replace(/Command$/, ''), input);
        return { output: { ...output, $metadata: { httpStatusCode: 200, attempts: 1 } }, response: {} };
      },
    { relation: 'after', toMiddleware: 'retryMiddleware', name: 'lab' },
  );
}
