/*
 * What mappings show: files of the host, the program's file in RAM, shared memory without a name. An object has one frame for each of
 * its pages, whoever maps it, in a tree of the form of page tables; the host knows the tree and reads and writes files through it.
 */
#include "kernel.h"
#include "memory.h"

#define MAX_OBJECTS 4096
/* Pages that a tree can have: 2^36. */
#define MAX_OFFSET (1ul << 48)

struct object { u32 kind, users; u64 handle, root; };
static struct object objects[MAX_OBJECTS];
static u32 high;

int object_of(u32 kind, u64 handle) {
  u32 free = high;
  for (u32 i = 0; i < high; i++) {
    struct object *object = &objects[i];
    if (!object->users) free = min(free, i);
    else if (kind != VMA_SHARED_MEMORY && object->kind == kind && object->handle == handle) {
      object->users++;
      return (int)i;
    }
  }
  void *root = free < MAX_OBJECTS ? frame_alloc() : 0;
  if (!root) {
    if (kind == VMA_FILE) host_call(OP_UNMAP_FILE, handle, 0, 0, 0);
    return -ENOMEM;
  }
  if (free == high) high++;
  objects[free] = (struct object){ .kind = kind, .users = 1, .handle = handle, .root = (u64)root - DIRECT_MAP };
  if (kind == VMA_FILE) host_call(OP_PAGES, handle, objects[free].root, 0, 0);
  return (int)free;
}

void object_share(u32 object) { objects[object].users++; }

int object_page(u32 index, u64 offset, u64 *gpa) {
  struct object *object = &objects[index];
  if (object->kind == VMA_IMAGE) {
    *gpa = boot->image + offset;
    return offset < page_up(boot->image_size) ? FAULT_OK : FAULT_BUS;
  }
  if (offset >= MAX_OFFSET) return FAULT_BUS;
  u64 *entry = pte_of(object->root, offset, 1);
  if (!entry) return FAULT_OOM;
  if (!*entry) {
    void *frame = frame_alloc();
    if (!frame) return FAULT_OOM;
    if (object->kind == VMA_FILE && host_call(OP_READ_PAGE, object->handle, offset, (u64)frame - DIRECT_MAP, 0) <= 0) {
      frame_free((u64)frame - DIRECT_MAP);
      return FAULT_BUS;
    }
    *entry = ((u64)frame - DIRECT_MAP) | PTE_PRESENT;
  }
  *gpa = *entry & PTE_FRAME;
  return FAULT_OK;
}

void object_dirty(u32 object, u64 offset) {
  u64 *entry = pte_of(objects[object].root, offset, 0);
  if (entry && *entry) *entry |= PTE_DIRTY;
}

void object_write_back(u32 index, u64 from, u64 to) {
  struct object *object = &objects[index];
  if (object->kind != VMA_FILE) return;
  for (u64 at = from, *entry; (entry = next_pte(object->root, &at, min(to, MAX_OFFSET))); at += PAGE) {
    if (!(*entry & PTE_DIRTY)) continue;
    host_call(OP_WRITE_PAGE, object->handle, at, *entry & PTE_FRAME, 0);
    *entry &= ~PTE_DIRTY;
  }
}

void object_leave(u32 index) {
  struct object *object = &objects[index];
  if (--object->users) return;
  object_write_back(index, 0, MAX_OFFSET);
  if (object->kind == VMA_FILE) host_call(OP_UNMAP_FILE, object->handle, 0, 0, 0);
  free_tables(object->root | PTE_PRESENT, 4);
}

/* A file has become shorter: pages behind its end are nobody's any more, private copies included (mmap(2): SIGBUS). */
void object_cut(u64 root, u64 size) {
  u32 index = 0;
  while (index < high && !(objects[index].users && objects[index].root == root)) index++;
  if (index == high) return;
  u64 from = page_up(size);
  spaces_cut(index, from);
  for (u64 at = from, *entry; (entry = next_pte(root, &at, MAX_OFFSET)); at += PAGE) {
    frame_free(*entry & PTE_FRAME);
    *entry = 0;
  }
}
