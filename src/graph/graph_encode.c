/* SPDX-License-Identifier: Apache-2.0 */
/* Graph to GraphDef: untouched pieces as they came, edited nodes with their own inputs.
 */
#include <stdio.h>

#include "graph/body.h"

/* Where the bytes go: a file, or memory. */
typedef struct sink {
  amct_output *output;
  amct_buffer *buffer;
} sink;

static amct_status put(const sink *to, const void *data, size_t size, amct_error *err) {
  if (to->output != NULL) return amct_output_write(to->output, data, size, err);
  amct_buffer_append(to->buffer, data, size);
  return to->buffer->failed ? amct_fail_memory(err) : AMCT_OK;
}

size_t amct_varint_size(uint64_t value) {
  size_t size = 1;
  for (; value >= 0x80; value >>= 7)
    size++;
  return size;
}

bool amct_nodedef_is_head(const amct_field *field) {
  return field->wire == AMCT_WIRE_BYTES &&
         (field->number == NODE_NAME || field->number == NODE_OP ||
          field->number == NODE_INPUT);
}

void amct_put_edge(amct_buffer *buffer, amct_edge edge) {
  char port[16] = "";
  const size_t caret = edge.port == AMCT_CONTROL ? 1 : 0;
  if (edge.port > 0) (void)snprintf(port, sizeof port, ":%d", (int)edge.port);
  const size_t name = strlen(edge.node->name);
  amct_put_tag(buffer, NODE_INPUT, AMCT_WIRE_BYTES);
  amct_put_varint(buffer, caret + name + strlen(port));
  amct_buffer_append(buffer, "^", caret);
  amct_buffer_append(buffer, edge.node->name, name);
  amct_buffer_append(buffer, port, strlen(port));
}

void amct_node_put_head(amct_buffer *buffer, const amct_node *node) {
  amct_put_text(buffer, NODE_NAME, node->name);
  amct_put_text(buffer, NODE_OP, node->op);
  for (uint32_t i = 0; i < node->input_count; i++)
    amct_put_edge(buffer, node->inputs[i]);
}

/* The fields that memory does not hold, straight from the bytes that the node was read
 * from. */
static amct_status put_rest(const sink *to, amct_slice message, uint64_t *size,
                            amct_error *err) {
  amct_cursor cursor = amct_cursor_of(message, message.data);
  for (;;) {
    amct_field field;
    bool more;
    AMCT_TRY(amct_cursor_next(&cursor, &field, &more, err));
    if (!more) return AMCT_OK;
    if (amct_nodedef_is_head(&field)) continue;
    if (size != NULL) {
      *size += field.raw.size;
    } else {
      AMCT_TRY(put(to, field.raw.data, field.raw.size, err));
    }
  }
}

static amct_status put_node(const sink *to, const amct_node *node, amct_buffer *scratch,
                            amct_error *err) {
  const struct amct_node_body *body = node->body;
  if (!body->stale && body->piece.raw.size > 0)
    return put(to, body->piece.raw.data, body->piece.raw.size, err);

  amct_buffer head = {0};
  amct_status status;
  uint64_t size = body->message.size;
  if (body->stale) {
    amct_node_put_head(&head, node);
    size = head.size;
    if ((status = put_rest(to, body->message, &size, err)) != AMCT_OK) goto done;
  }
  scratch->size = 0;
  amct_put_tag(scratch, GRAPH_NODE, AMCT_WIRE_BYTES);
  amct_put_varint(scratch, size);
  if (head.failed || scratch->failed) {
    status = amct_fail_memory(err);
    goto done;
  }
  if ((status = put(to, scratch->data, scratch->size, err)) != AMCT_OK) goto done;
  if (!body->stale) {
    status = put(to, body->message.data, body->message.size, err);
    goto done;
  }
  if ((status = put(to, head.data, head.size, err)) != AMCT_OK) goto done;
  status = put_rest(to, body->message, NULL, err);
done:
  amct_buffer_free(&head);
  return status;
}

static amct_status put_graph(const sink *to, const amct_graph *graph, amct_error *err) {
  amct_buffer scratch = {0};
  amct_status status = AMCT_OK;
  for (const amct_piece *piece = graph->first; piece != NULL; piece = piece->next) {
    if (piece->node == NULL) {
      status = put(to, piece->raw.data, piece->raw.size, err);
    } else if (!piece->node->removed) {
      status = put_node(to, piece->node, &scratch, err);
    }
    if (status != AMCT_OK) break;
  }
  amct_buffer_free(&scratch);
  return status;
}

amct_status amct_graph_save(const amct_graph *graph, amct_output *output,
                            amct_error *err) {
  const sink to = {output, NULL};
  return put_graph(&to, graph, err);
}

amct_status amct_graph_encode(const amct_graph *graph, amct_buffer *buffer,
                              amct_error *err) {
  const sink to = {NULL, buffer};
  return put_graph(&to, graph, err);
}
