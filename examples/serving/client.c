/* Asks a SavedModel of launchers/export about one clip, through TensorFlow's C library alone.

     client models/mine/1 clip.wav frame_0.jpg frame_1.jpg

   prints a line for each class: its name and its probability, as the network says, as the sound
   says and as the frames say. ../../docs/serving.md says how to compile it. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>

enum { NUM_INPUTS = 2, NUM_OUTPUTS = 3, MAX_NAME = 256 };

static const char *INPUTS[NUM_INPUTS] = {"audio_wav", "frames_jpeg"};
static const char *OUTPUTS[NUM_OUTPUTS] = {"probabilities", "audio_probabilities",
                                           "visual_probabilities"};
/* Numbers of fields in TensorFlow's meta_graph.proto. */
enum { META_GRAPH_SIGNATURES = 5, SIGNATURE_INPUTS = 1, SIGNATURE_OUTPUTS = 2, TENSOR_NAME = 1 };

typedef struct {
  const uint8_t *data;
  size_t size;
} Bytes;

static void fail(const char *what, const char *received) {
  fprintf(stderr, "%s Received: %s\n", what, received);
  exit(1);
}

static void require_ok(const TF_Status *status, const char *what) {
  if (TF_GetCode(status) != TF_OK) fail(what, TF_Message(status));
}

static uint64_t read_varint(Bytes *message) {
  uint64_t value = 0;
  for (int shift = 0; message->size > 0 && shift < 64; shift += 7) {
    uint8_t byte = *message->data++;
    message->size--;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  return value;
}

/* Moves past the next field of a protocol buffer; `value` is empty where it is a number. */
static int read_field(Bytes *message, uint64_t *number, Bytes *value) {
  if (message->size == 0) return 0;
  uint64_t tag = read_varint(message);
  uint64_t skipped = 0;
  *number = tag >> 3;
  switch (tag & 7) {
    case 0: read_varint(message); break;
    case 1: skipped = 8; break;
    case 2: skipped = read_varint(message); break;
    case 5: skipped = 4; break;
    default: fail("The SavedModel must be readable.", "an unknown type of field");
  }
  if (skipped > message->size) fail("The SavedModel must be readable.", "a field cut short");
  value->data = message->data;
  value->size = (tag & 7) == 2 ? skipped : 0;
  message->data += skipped;
  message->size -= skipped;
  return 1;
}

static Bytes field(Bytes message, uint64_t wanted) {
  uint64_t number;
  Bytes value;
  while (read_field(&message, &number, &value))
    if (number == wanted) return value;
  return (Bytes){NULL, 0};
}

/* Returns the value that a map, the field `wanted`, has for a key. */
static Bytes map_value(Bytes message, uint64_t wanted, const char *key) {
  uint64_t number;
  Bytes entry;
  while (read_field(&message, &number, &entry)) {
    Bytes found = field(entry, 1);
    if (number == wanted && found.size == strlen(key) && !memcmp(found.data, key, found.size))
      return field(entry, 2);
  }
  fail("The SavedModel must have been exported with sound and pictures.", key);
  return (Bytes){NULL, 0};
}

/* Returns the place in the graph of one input or output of a signature. */
static TF_Output find(TF_Graph *graph, Bytes signature, uint64_t kind, const char *key) {
  Bytes text = field(map_value(signature, kind, key), TENSOR_NAME);
  char name[MAX_NAME];
  if (text.size >= MAX_NAME) fail("A tensor's name must be short.", key);
  memcpy(name, text.data, text.size);
  name[text.size] = '\0';
  char *colon = strrchr(name, ':');
  TF_Output output = {NULL, 0};
  if (colon) {
    *colon = '\0';
    output.oper = TF_GraphOperationByName(graph, name);
    output.index = atoi(colon + 1);
  }
  if (!output.oper) fail("The graph must hold what its signature names.", name);
  return output;
}

static void read_file(const char *path, TF_TString *content) {
  FILE *file = fopen(path, "rb");
  if (!file) fail("The file must be readable.", path);
  char *data = NULL;
  size_t size = 0, room = 0, count;
  do {
    if (size == room) data = realloc(data, room = 2 * room + 65536);
    if (!data) fail("The file must fit into memory.", path);
    count = fread(data + size, 1, room - size, file);
    size += count;
  } while (count > 0);
  if (ferror(file)) fail("The file must be readable.", path);
  fclose(file);
  TF_StringCopy(content, data, size);
  free(data);
}

/* Returns a string tensor of files, of the shape [1], or [1, count] where there is a second axis. */
static TF_Tensor *read_files(char **paths, int count, int num_axes) {
  int64_t shape[2] = {1, count};
  TF_Tensor *tensor = TF_AllocateTensor(TF_STRING, shape, num_axes, count * sizeof(TF_TString));
  TF_TString *contents = TF_TensorData(tensor);
  for (int i = 0; i < count; i++) {
    TF_StringInit(&contents[i]);
    read_file(paths[i], &contents[i]);
  }
  return tensor;
}

int main(int num_arguments, char **arguments) {
  if (num_arguments < 4) fail("Usage: client SAVED_MODEL CLIP.wav FRAME.jpg...", "too few arguments");
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_Buffer *meta_graph = TF_NewBuffer();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tag = "serve";
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, arguments[1], &tag, 1, graph,
                                                     meta_graph, status);
  require_ok(status, "The SavedModel must be readable.");
  Bytes message = {meta_graph->data, meta_graph->length};
  Bytes signature = map_value(message, META_GRAPH_SIGNATURES, "encoded");

  TF_Output inputs[NUM_INPUTS], outputs[NUM_OUTPUTS];
  for (int i = 0; i < NUM_INPUTS; i++)
    inputs[i] = find(graph, signature, SIGNATURE_INPUTS, INPUTS[i]);
  for (int i = 0; i < NUM_OUTPUTS; i++)
    outputs[i] = find(graph, signature, SIGNATURE_OUTPUTS, OUTPUTS[i]);
  TF_Tensor *values[NUM_INPUTS] = {read_files(arguments + 2, 1, 1),
                                   read_files(arguments + 3, num_arguments - 3, 2)};
  TF_Tensor *answers[NUM_OUTPUTS];
  TF_SessionRun(session, NULL, inputs, values, NUM_INPUTS, outputs, answers, NUM_OUTPUTS, NULL, 0,
                NULL, status);
  require_ok(status, "The SavedModel must be able to answer.");

  char path[4096], name[4096];
  snprintf(path, sizeof path, "%s/assets/class_names.txt", arguments[1]);
  FILE *names = fopen(path, "r");
  if (!names) fail("The SavedModel must name its classes.", path);
  for (int64_t i = 0; i < TF_Dim(answers[0], 1) && fgets(name, sizeof name, names); i++) {
    name[strcspn(name, "\n")] = '\0';
    printf("%s", name);
    for (int j = 0; j < NUM_OUTPUTS; j++)
      printf("\t%.7f", ((const float *)TF_TensorData(answers[j]))[i]);
    printf("\n");
  }
  fclose(names);

  for (int i = 0; i < NUM_INPUTS; i++) TF_DeleteTensor(values[i]);
  for (int i = 0; i < NUM_OUTPUTS; i++) TF_DeleteTensor(answers[i]);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteBuffer(meta_graph);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
