/**
 * Structures of the kernels of 32-bit Windows as far as they are read here, from their public symbol files. A row holds from its build on, up to the next one:
 * see `layouts.ts` for how it is written.
 */
import type { LayoutRows } from './layouts.js';

export const X86: Readonly<Record<string, LayoutRows>> = {
  _EPROCESS: [
    [
      '2600',
      '260 Pcb@0:_KPROCESS CreateTime@70:u8 ExitTime@78:u8 UniqueProcessId@84:p ActiveProcessLinks@88:_LIST_ENTRY ObjectTable@c4:*_HANDLE_TABLE Token@c8:_EX_FAST_REF SectionBaseAddress@13c:p InheritedFromUniqueProcessId@14c:p ImageFileName@174:[16]u1 SeAuditProcessCreationInfo@1f4:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@190:_LIST_ENTRY ActiveThreads@1a0:u4 Peb@1b0:*_PEB VadRoot@11c:p',
    ],
    [
      '3790',
      '278 Pcb@0:_KPROCESS CreateTime@70:u8 ExitTime@78:u8 UniqueProcessId@84:p ActiveProcessLinks@88:_LIST_ENTRY ObjectTable@c4:*_HANDLE_TABLE Token@c8:_EX_FAST_REF SectionBaseAddress@118:p InheritedFromUniqueProcessId@128:p ImageFileName@154:[16]u1 SeAuditProcessCreationInfo@1d4:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@170:_LIST_ENTRY ActiveThreads@180:u4 Peb@190:*_PEB VadRoot@258:_MM_AVL_TABLE',
    ],
    [
      '3790.1',
      '278 Pcb@0:_KPROCESS CreateTime@80:u8 ExitTime@88:u8 UniqueProcessId@94:p ActiveProcessLinks@98:_LIST_ENTRY ObjectTable@d4:*_HANDLE_TABLE Token@d8:_EX_FAST_REF SectionBaseAddress@128:p InheritedFromUniqueProcessId@138:p ImageFileName@164:[16]u1 SeAuditProcessCreationInfo@1e4:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@180:_LIST_ENTRY ActiveThreads@190:u4 Peb@1a0:*_PEB VadRoot@250:_MM_AVL_TABLE',
    ],
    [
      '6000',
      '270 Pcb@0:_KPROCESS CreateTime@88:u8 ExitTime@90:u8 UniqueProcessId@9c:p ActiveProcessLinks@a0:_LIST_ENTRY ObjectTable@dc:*_HANDLE_TABLE Token@e0:_EX_FAST_REF SectionBaseAddress@114:p InheritedFromUniqueProcessId@124:p ImageFileName@14c:[16]u1 SeAuditProcessCreationInfo@1cc:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@168:_LIST_ENTRY ActiveThreads@178:u4 Peb@188:*_PEB VadRoot@238:_MM_AVL_TABLE',
    ],
    [
      '7600',
      '2c0 Pcb@0:_KPROCESS CreateTime@a0:u8 ExitTime@a8:u8 UniqueProcessId@b4:p ActiveProcessLinks@b8:_LIST_ENTRY ObjectTable@f4:*_HANDLE_TABLE Token@f8:_EX_FAST_REF SectionBaseAddress@12c:p InheritedFromUniqueProcessId@140:p ImageFileName@16c:[15]u1 SeAuditProcessCreationInfo@1ec:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@188:_LIST_ENTRY ActiveThreads@198:u4 Peb@1a8:*_PEB VadRoot@278:_MM_AVL_TABLE',
    ],
    [
      '7601.24000',
      '2e0 Pcb@0:_KPROCESS CreateTime@a0:u8 ExitTime@a8:u8 UniqueProcessId@b4:p ActiveProcessLinks@b8:_LIST_ENTRY ObjectTable@f4:*_HANDLE_TABLE Token@f8:_EX_FAST_REF SectionBaseAddress@12c:p InheritedFromUniqueProcessId@140:p ImageFileName@16c:[15]u1 SeAuditProcessCreationInfo@1ec:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@188:_LIST_ENTRY ActiveThreads@198:u4 Peb@1a8:*_PEB VadRoot@278:_MM_AVL_TABLE',
    ],
    [
      '9200',
      '2e8 Pcb@0:_KPROCESS CreateTime@a8:u8 ExitTime@2b8:u8 UniqueProcessId@b4:p ActiveProcessLinks@b8:_LIST_ENTRY ObjectTable@150:*_HANDLE_TABLE Token@ec:_EX_FAST_REF SectionBaseAddress@120:p InheritedFromUniqueProcessId@134:p ImageFileName@170:[15]u1 SeAuditProcessCreationInfo@184:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@194:_LIST_ENTRY ActiveThreads@19c:u4 Peb@140:*_PEB VadRoot@274:_MM_AVL_TABLE',
    ],
    [
      '9600',
      '2f8 Pcb@0:_KPROCESS CreateTime@a8:u8 ExitTime@2b0:u8 UniqueProcessId@b4:p ActiveProcessLinks@b8:_LIST_ENTRY ObjectTable@150:*_HANDLE_TABLE Token@ec:_EX_FAST_REF SectionBaseAddress@120:p InheritedFromUniqueProcessId@134:p ImageFileName@170:[15]u1 SeAuditProcessCreationInfo@184:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@194:_LIST_ENTRY ActiveThreads@19c:u4 Peb@140:*_PEB VadRoot@274:_RTL_AVL_TREE',
    ],
    [
      '10240',
      '380 Pcb@0:_KPROCESS CreateTime@c8:u8 ExitTime@2c0:u8 UniqueProcessId@b4:p ActiveProcessLinks@b8:_LIST_ENTRY ObjectTable@154:*_HANDLE_TABLE Token@f4:_EX_FAST_REF SectionBaseAddress@128:p InheritedFromUniqueProcessId@138:p ImageFileName@170:[15]u1 SeAuditProcessCreationInfo@184:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@194:_LIST_ENTRY ActiveThreads@19c:u4 Peb@144:*_PEB VadRoot@284:_RTL_AVL_TREE',
    ],
    [
      '10240.17770',
      '388 Pcb@0:_KPROCESS CreateTime@c8:u8 ExitTime@2c0:u8 UniqueProcessId@b4:p ActiveProcessLinks@b8:_LIST_ENTRY ObjectTable@154:*_HANDLE_TABLE Token@f4:_EX_FAST_REF SectionBaseAddress@128:p InheritedFromUniqueProcessId@138:p ImageFileName@170:[15]u1 SeAuditProcessCreationInfo@184:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@194:_LIST_ENTRY ActiveThreads@19c:u4 Peb@144:*_PEB VadRoot@288:_RTL_AVL_TREE',
    ],
    [
      '10586',
      '370 Pcb@0:_KPROCESS CreateTime@c8:u8 ExitTime@2c0:u8 UniqueProcessId@b4:p ActiveProcessLinks@b8:_LIST_ENTRY ObjectTable@154:*_HANDLE_TABLE Token@f4:_EX_FAST_REF SectionBaseAddress@128:p InheritedFromUniqueProcessId@138:p ImageFileName@174:[15]u1 SeAuditProcessCreationInfo@188:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@198:_LIST_ENTRY ActiveThreads@1a0:u4 Peb@144:*_PEB VadRoot@284:_RTL_AVL_TREE',
    ],
    [
      '14393',
      '388 Pcb@0:_KPROCESS CreateTime@c8:u8 ExitTime@2c8:u8 UniqueProcessId@b4:p ActiveProcessLinks@b8:_LIST_ENTRY ObjectTable@154:*_HANDLE_TABLE Token@f4:_EX_FAST_REF SectionBaseAddress@128:p InheritedFromUniqueProcessId@138:p ImageFileName@174:[15]u1 SeAuditProcessCreationInfo@188:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@198:_LIST_ENTRY ActiveThreads@1a0:u4 Peb@144:*_PEB VadRoot@28c:_RTL_AVL_TREE',
    ],
    [
      '15063',
      '3e0 Pcb@0:_KPROCESS CreateTime@d0:u8 ExitTime@2d0:u8 UniqueProcessId@b4:p ActiveProcessLinks@b8:_LIST_ENTRY ObjectTable@15c:*_HANDLE_TABLE Token@fc:_EX_FAST_REF SectionBaseAddress@130:p InheritedFromUniqueProcessId@140:p ImageFileName@17c:[15]u1 SeAuditProcessCreationInfo@190:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@1a0:_LIST_ENTRY ActiveThreads@1a8:u4 Peb@14c:*_PEB VadRoot@298:_RTL_AVL_TREE',
    ],
    [
      '16299',
      '3e8 Pcb@0:_KPROCESS CreateTime@d0:u8 ExitTime@2d0:u8 UniqueProcessId@b4:p ActiveProcessLinks@b8:_LIST_ENTRY ObjectTable@15c:*_HANDLE_TABLE Token@fc:_EX_FAST_REF SectionBaseAddress@130:p InheritedFromUniqueProcessId@140:p ImageFileName@17c:[15]u1 SeAuditProcessCreationInfo@190:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@1a0:_LIST_ENTRY ActiveThreads@1a8:u4 Peb@14c:*_PEB VadRoot@298:_RTL_AVL_TREE',
    ],
    [
      '17134',
      '400 Pcb@0:_KPROCESS CreateTime@d0:u8 ExitTime@2d8:u8 UniqueProcessId@b4:p ActiveProcessLinks@b8:_LIST_ENTRY ObjectTable@15c:*_HANDLE_TABLE Token@fc:_EX_FAST_REF SectionBaseAddress@130:p InheritedFromUniqueProcessId@140:p ImageFileName@17c:[15]u1 SeAuditProcessCreationInfo@190:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@1a0:_LIST_ENTRY ActiveThreads@1a8:u4 Peb@14c:*_PEB VadRoot@29c:_RTL_AVL_TREE',
    ],
    [
      '17763',
      '408 Pcb@0:_KPROCESS CreateTime@d0:u8 ExitTime@2d8:u8 UniqueProcessId@b4:p ActiveProcessLinks@b8:_LIST_ENTRY ObjectTable@15c:*_HANDLE_TABLE Token@fc:_EX_FAST_REF SectionBaseAddress@130:p InheritedFromUniqueProcessId@140:p ImageFileName@17c:[15]u1 SeAuditProcessCreationInfo@190:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@1a0:_LIST_ENTRY ActiveThreads@1a8:u4 Peb@14c:*_PEB VadRoot@29c:_RTL_AVL_TREE',
    ],
    [
      '18362',
      '480 Pcb@0:_KPROCESS CreateTime@d0:u8 ExitTime@348:u8 UniqueProcessId@b4:p ActiveProcessLinks@b8:_LIST_ENTRY ObjectTable@15c:*_HANDLE_TABLE Token@fc:_EX_FAST_REF SectionBaseAddress@130:p InheritedFromUniqueProcessId@140:p ImageFileName@17c:[15]u1 SeAuditProcessCreationInfo@190:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@1a0:_LIST_ENTRY ActiveThreads@1a8:u4 Peb@14c:*_PEB VadRoot@310:_RTL_AVL_TREE',
    ],
    [
      '19041',
      '4c0 Pcb@0:_KPROCESS CreateTime@100:u8 ExitTime@388:u8 UniqueProcessId@e4:p ActiveProcessLinks@e8:_LIST_ENTRY ObjectTable@18c:*_HANDLE_TABLE Token@12c:_EX_FAST_REF SectionBaseAddress@160:p InheritedFromUniqueProcessId@170:p ImageFileName@1ac:[15]u1 SeAuditProcessCreationInfo@1c0:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@1d0:_LIST_ENTRY ActiveThreads@1d8:u4 Peb@17c:*_PEB VadRoot@350:_RTL_AVL_TREE',
    ],
  ],
  _SE_AUDIT_PROCESS_CREATION_INFO: [['2600', '4 ImageFileName@0:*_OBJECT_NAME_INFORMATION']],
  _OBJECT_NAME_INFORMATION: [['2600', '8 Name@0:_UNICODE_STRING']],
  _KPROCESS: [['2600', '6c DirectoryTableBase@18:u4']],
  _ETHREAD: [
    [
      '2600',
      '258 Tcb@0:_KTHREAD CreateTime@1c0:u8 ExitTime@1c8:u8 StartAddress@224:p Cid@1ec:_CLIENT_ID Win32StartAddress@228:p ThreadListEntry@22c:_LIST_ENTRY',
    ],
    [
      '3790',
      '260 Tcb@0:_KTHREAD CreateTime@1c8:u8 ExitTime@1d0:u8 StartAddress@22c:p Cid@1f4:_CLIENT_ID Win32StartAddress@230:p ThreadListEntry@234:_LIST_ENTRY',
    ],
    [
      '3790.1',
      '250 Tcb@0:_KTHREAD CreateTime@1b8:u8 ExitTime@1c0:u8 StartAddress@21c:p Cid@1e4:_CLIENT_ID Win32StartAddress@220:p ThreadListEntry@224:_LIST_ENTRY',
    ],
    [
      '6000',
      '288 Tcb@0:_KTHREAD CreateTime@1e0:u8 ExitTime@1e8:u8 StartAddress@1f8:p Cid@20c:_CLIENT_ID Win32StartAddress@240:p ThreadListEntry@248:_LIST_ENTRY',
    ],
    [
      '7600',
      '2b8 Tcb@0:_KTHREAD CreateTime@200:u8 ExitTime@208:u8 StartAddress@218:p Cid@22c:_CLIENT_ID Win32StartAddress@260:p ThreadListEntry@268:_LIST_ENTRY',
    ],
    [
      '9200',
      '2c8 Tcb@0:_KTHREAD CreateTime@1e8:u8 ExitTime@1f0:u8 StartAddress@200:p Cid@214:_CLIENT_ID Win32StartAddress@244:p ThreadListEntry@24c:_LIST_ENTRY',
    ],
    [
      '9600',
      '418 Tcb@0:_KTHREAD CreateTime@338:u8 ExitTime@340:u8 StartAddress@350:p Cid@364:_CLIENT_ID Win32StartAddress@394:p ThreadListEntry@39c:_LIST_ENTRY',
    ],
    [
      '10240',
      '458 Tcb@0:_KTHREAD CreateTime@348:u8 ExitTime@350:u8 StartAddress@360:p Cid@374:_CLIENT_ID Win32StartAddress@3a4:p ThreadListEntry@3ac:_LIST_ENTRY',
    ],
    [
      '15063',
      '480 Tcb@0:_KTHREAD CreateTime@350:u8 ExitTime@358:u8 StartAddress@368:p Cid@37c:_CLIENT_ID Win32StartAddress@3ac:p ThreadListEntry@3b4:_LIST_ENTRY',
    ],
    [
      '18362',
      '488 Tcb@0:_KTHREAD CreateTime@358:u8 ExitTime@360:u8 StartAddress@370:p Cid@384:_CLIENT_ID Win32StartAddress@3b4:p ThreadListEntry@3bc:_LIST_ENTRY',
    ],
    [
      '19041',
      '4e0 Tcb@0:_KTHREAD CreateTime@280:u8 ExitTime@288:u8 StartAddress@298:p Cid@2ac:_CLIENT_ID Win32StartAddress@2dc:p ThreadListEntry@2e4:_LIST_ENTRY',
    ],
  ],
  _KTHREAD: [
    ['2600', '1c0 Teb@20:p State@2d:u1'],
    ['3790', '1c8 Teb@30:p State@2c:u1'],
    ['3790.1', '1b8 Teb@74:p State@4c:u1'],
    ['6000', '1e0 Teb@84:p State@5c:u1'],
    ['7600', '200 Teb@88:p State@68:u1'],
    ['9200', '1e8 Teb@a8:p State@90:u1'],
  ],
  _CLIENT_ID: [['2600', '8 UniqueProcess@0:p UniqueThread@4:p']],
  _LDR_DATA_TABLE_ENTRY: [
    [
      '2600',
      '50 InLoadOrderLinks@0:_LIST_ENTRY InMemoryOrderLinks@8:_LIST_ENTRY InInitializationOrderLinks@10:_LIST_ENTRY DllBase@18:p EntryPoint@1c:p SizeOfImage@20:u4 FullDllName@24:_UNICODE_STRING BaseDllName@2c:_UNICODE_STRING',
    ],
  ],
  _PEB: [
    [
      '2600',
      '210 BeingDebugged@2:u1 ImageBaseAddress@8:p Ldr@c:*_PEB_LDR_DATA ProcessParameters@10:*_RTL_USER_PROCESS_PARAMETERS',
    ],
  ],
  _PEB_LDR_DATA: [
    [
      '2600',
      '28 InLoadOrderModuleList@c:_LIST_ENTRY InMemoryOrderModuleList@14:_LIST_ENTRY InInitializationOrderModuleList@1c:_LIST_ENTRY',
    ],
  ],
  _RTL_USER_PROCESS_PARAMETERS: [['2600', '290 ImagePathName@38:_UNICODE_STRING CommandLine@40:_UNICODE_STRING']],
  _HANDLE_TABLE: [
    ['2600', '44 TableCode@0:u4 NextHandleNeedingPool@38:u4'],
    ['6000', '38 TableCode@0:u4 NextHandleNeedingPool@34:u4'],
    ['9200', '5c TableCode@8:u4 NextHandleNeedingPool@0:u4'],
  ],
  _HANDLE_TABLE_ENTRY: [
    ['2600', '8 Object@0:p GrantedAccess@4:u4'],
    ['9200', '8 ObjectPointerBits@0:u4:3-32 GrantedAccessBits@4:u4:0-25'],
  ],
  _OBJECT_HEADER: [
    ['2600', '20 Type@8:*_OBJECT_TYPE NameInfoOffset@c:u1 Body@18:u8'],
    ['7600', '20 TypeIndex@c:u1 InfoMask@e:u1 Body@18:u8'],
  ],
  _OBJECT_HEADER_NAME_INFO: [['2600', '10 Name@4:_UNICODE_STRING']],
  _OBJECT_HEADER_CREATOR_INFO: [['2600', '10 TypeList@0:_LIST_ENTRY']],
  _OBJECT_TYPE: [
    ['2600', '190 Name@40:_UNICODE_STRING Index@4c:u4'],
    ['6001', '140 Name@8:_UNICODE_STRING Index@14:u4'],
    ['7600', '88 Name@8:_UNICODE_STRING Index@14:u1'],
  ],
  _FILE_OBJECT: [['2600', '70 DeviceObject@4:p FileName@30:_UNICODE_STRING']],
  _MMVAD: [
    [
      '2600',
      '28 StartingVpn@0:u4 EndingVpn@4:u4 LeftChild@c:*_MMVAD RightChild@10:*_MMVAD u@14:_MMVAD_U ControlArea@18:*_CONTROL_AREA',
    ],
    [
      '3790',
      '28 StartingVpn@c:u4 EndingVpn@10:u4 LeftChild@4:*_MMVAD RightChild@8:*_MMVAD u@14:_MMVAD_U ControlArea@18:*_CONTROL_AREA',
    ],
    [
      '6000',
      '30 StartingVpn@c:u4 EndingVpn@10:u4 LeftChild@4:*_MMVAD RightChild@8:*_MMVAD u@14:_MMVAD_U Subsection@24:*_SUBSECTION',
    ],
    ['9200', '48 Core@0:_MMVAD_SHORT Subsection@2c:*_SUBSECTION'],
  ],
  _MMVAD_SHORT: [
    ['2600', '18 StartingVpn@0:u4 EndingVpn@4:u4 u@14:_MMVAD_U'],
    ['3790', '18 StartingVpn@c:u4 EndingVpn@10:u4 u@14:_MMVAD_U'],
    ['9200', '28 VadNode@0:_MM_AVL_NODE StartingVpn@c:u4 EndingVpn@10:u4 u@18:_MMVAD_U'],
    ['9600', '28 VadNode@0:_RTL_BALANCED_NODE StartingVpn@c:u4 EndingVpn@10:u4 u@1c:_MMVAD_U'],
  ],
  _MMVAD_FLAGS: [
    ['2600', '4 Protection@0:u4:24-29 PrivateMemory@0:u4:31-32 ImageMap@0:u4:20-21'],
    ['3790.1', '4 VadType@0:u4:20-23 Protection@0:u4:24-29 PrivateMemory@0:u4:31-32'],
    ['9200', '4 VadType@0:u4:0-3 Protection@0:u4:3-8 PrivateMemory@0:u4:15-16'],
    ['17134', '4 VadType@0:u4:0-3 Protection@0:u4:3-8 PrivateMemory@0:u4:14-15'],
    ['18362', '4 VadType@0:u4:4-7 Protection@0:u4:7-12 PrivateMemory@0:u4:20-21'],
  ],
  _MMADDRESS_NODE: [['3790', '14 LeftChild@4:*_MMADDRESS_NODE RightChild@8:*_MMADDRESS_NODE']],
  _MM_AVL_NODE: [['9200', 'c LeftChild@4:*_MM_AVL_NODE RightChild@8:*_MM_AVL_NODE']],
  _MM_AVL_TABLE: [
    ['3790', '20 BalancedRoot@0:_MMADDRESS_NODE'],
    ['9200', '18 BalancedRoot@0:_MM_AVL_NODE'],
  ],
  _RTL_AVL_TREE: [['7601.24000', '4 Root@0:*_RTL_BALANCED_NODE']],
  _RTL_BALANCED_NODE: [['7601.24000', 'c Left@0:*_RTL_BALANCED_NODE Right@4:*_RTL_BALANCED_NODE']],
  _SUBSECTION: [['2600', '20 ControlArea@0:*_CONTROL_AREA']],
  _CONTROL_AREA: [
    ['2600', '30 FilePointer@24:*_FILE_OBJECT'],
    ['6000', '48 FilePointer@24:_EX_FAST_REF'],
    ['9600', '50 FilePointer@20:_EX_FAST_REF'],
  ],
  _EX_FAST_REF: [['2600', '4 Object@0:p']],
  _MMVAD_U: [['2600', '4 VadFlags@0:_MMVAD_FLAGS']],
};
